"""
REST contract of xpander.ai: what to send and what a reply means.

Nothing here imports Airflow. Only the two drivers, ``client`` (with ``stream``) and ``aclient``, open
a socket.
"""

from __future__ import annotations
