"""Pictures of what a tracker does: tracks on video, loss curves."""

from .tracks import TrackPainter, colour_of
from .video import VideoWriter, check_video

__all__ = ['TrackPainter', 'VideoWriter', 'check_video', 'colour_of']
