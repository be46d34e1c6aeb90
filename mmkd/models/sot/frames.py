"""A frame on its way to the tracker, as it was loaded."""

from __future__ import annotations

from typing import Any, Dict, Optional

from mmengine.model import BaseDataPreprocessor
from mmtrack.models import TrackDataPreprocessor
from torch import Tensor


def as_they_are(preprocessor: Any, data: Any) -> Optional[Dict[str, Any]]:
    """Brings one frame to the device without making floats of all of it.

    mmtrack's preprocessor makes a float of every pixel and then a batch of them, which is more
    work than some networks; of a frame a Siamese tracker needs only what it crops.

    Args:
        preprocessor: The model's.
        data: A batch of the data loader.

    Returns:
        ``inputs`` and ``data_samples`` as the preprocessor gives them, but of the dtype of the data
        set; None where the preprocessor changes more than the dtype, or for other batches.
    """
    if type(preprocessor) is not TrackDataPreprocessor or not isinstance(data, dict):
        return None
    frames = data.get('inputs')
    if (
        preprocessor._enable_normalize
        or preprocessor.channel_conversion
        or preprocessor.pad_size_divisor != 1
        or not isinstance(frames, dict)
        or list(frames) != ['img']
        or len(frames['img']) != 1
    ):
        return None
    data = BaseDataPreprocessor.forward(preprocessor, data)
    frames = data['inputs']['img']
    img = frames if isinstance(frames, Tensor) else frames[0][None]
    shape = tuple(img.shape[-2:])
    for sample in data['data_samples'] or ():
        sample.set_metainfo(dict(batch_input_shape=shape, pad_shape=shape))
    return dict(inputs=dict(img=img), data_samples=data['data_samples'])
