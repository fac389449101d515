"""The part of a switch's work that a network card does: VLAN tags, checksums, segmentation, spreading over queues, an embedded bridge.

A software model, for captures and for tests; frames are ``bytes``, whole, without frame check sequence.  Its pieces know nothing of each other;
:class:`~vsw.vm.nic.card.Nic` puts them together as one model of card has them.
"""
