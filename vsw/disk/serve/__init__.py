"""Transports: how a disk's commands or bytes reach who asks for them. A transport knows neither images nor commands."""
