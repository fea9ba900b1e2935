"""
The xpander.ai REST contract: what to send and what an answer means.

Nothing here imports Airflow. Only the two drivers, ``client`` and ``aclient``, open a socket.
"""

from __future__ import annotations
