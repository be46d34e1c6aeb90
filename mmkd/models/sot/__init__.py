"""Single-object trackers: mmtrack's, with what distillation and speed need."""

from .siamrpn import SiamRPN

__all__ = ['SiamRPN']
