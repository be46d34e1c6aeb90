"""Where torch.compile has nothing to gain: Python objects, sizes that change, other libraries."""

from __future__ import annotations

import functools
from typing import Callable

import torch


def uncompiled(function: Callable) -> Callable:
    """Keeps torch.compile out of a function and of everything that it calls.

    A compiled model then has one break there, instead of one at each list, record and array of
    numpy inside, and is not compiled anew for every number of objects.

    Args:
        function: A function or method. Outside of torch.compile it runs as it is.

    Returns:
        The function, wrapped; unchanged where torch is too old to be told.
    """
    # torch.compiler.disable would do, but it imports the compiler (seconds) when it decorates.
    disable = getattr(torch, '_disable_dynamo', None)
    if disable is None:
        return function
    disabled = disable(function)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if torch.compiler.is_compiling():
            return disabled(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper
