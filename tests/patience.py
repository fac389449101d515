"""How long tests wait for what must happen, before they say that it did not.  No test measures it: on success nothing waits so long.

``VSW_PATIENCE=N`` multiplies it, for builds that are many times slower (AddressSanitizer, coverage) or a machine that is.
"""

import os

#: Seconds.
PATIENCE = 120.0 * float(os.environ.get("VSW_PATIENCE", "1"))
