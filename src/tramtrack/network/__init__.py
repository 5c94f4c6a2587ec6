"""The networks: facts (``registry``), modules (one file a family), and pretrained weights: what they are (``weight_set``), the
files that hold them (``weight_files``), and where they are had from (``weights``).

This package's root and ``registry`` import no deep-learning framework; ``build`` and ``weight_set``, and what imports them, do.
"""

from __future__ import annotations
