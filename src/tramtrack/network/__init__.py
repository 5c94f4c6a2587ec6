"""The networks: facts (``registry``), modules (one file a family), pretrained weights (``weights``).

This package's root imports no deep-learning framework; ``tramtrack.network.build`` and ``tramtrack.network.weights`` do.
"""

from __future__ import annotations
