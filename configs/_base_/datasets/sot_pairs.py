# How SiamRPN++ is shown pairs, as in mmtrack, but never of a frame without a visible target: a
# template of 127 pixels and a search region of 255.
train_pipeline = [
    dict(type='mmkd.VisiblePairSampling', frame_range=100, pos_prob=0.8),
    dict(
        type='TransformBroadcaster',
        share_random_params=False,
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadTrackAnnotations', with_instance_id=False),
            dict(type='CropLikeSiamFC', context_amount=0.5, exemplar_size=127, crop_size=511),
        ],
    ),
    dict(type='SeqShiftScaleAug', target_size=[127, 255], shift=[4, 64], scale=[0.05, 0.18]),
    dict(type='SeqColorAug', prob=[1.0, 1.0]),
    dict(type='SeqBlurAug', prob=[0.0, 0.2]),
    dict(type='PackTrackInputs', ref_prefix='search', num_template_frames=1),
]
