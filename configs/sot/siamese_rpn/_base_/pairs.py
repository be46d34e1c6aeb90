# mmtrack's training pairs of SiamRPN++ (a test holds the two equal): ImageNet VID, COCO and
# ImageNet DET, 600,000 pairs an epoch. PySOT has YouTube-BB besides.
data_root = 'data/'
train_pipeline = [
    dict(type='PairSampling', frame_range=100, pos_prob=0.8, filter_template_img=False),
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
train_dataloader = dict(
    batch_size=28,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='QuotaSampler', samples_per_epoch=600000),
    dataset=dict(
        type='RandomSampleConcatDataset',
        dataset_sampling_weights=[0.25, 0.2, 0.55],
        datasets=[
            dict(
                type='SOTImageNetVIDDataset',
                data_root=data_root,
                ann_file='ILSVRC/annotations/imagenet_vid_train.json',
                data_prefix=dict(img_path='ILSVRC/Data/VID'),
                pipeline=train_pipeline,
                test_mode=False,
            ),
            dict(
                type='SOTCocoDataset',
                data_root=data_root,
                ann_file='coco/annotations/instances_train2017.json',
                data_prefix=dict(img_path='coco/train2017'),
                pipeline=train_pipeline,
                test_mode=False,
            ),
            dict(
                type='SOTCocoDataset',
                data_root=data_root,
                ann_file='ILSVRC/annotations/imagenet_det_30plus1cls.json',
                data_prefix=dict(img_path='ILSVRC/Data/DET'),
                pipeline=train_pipeline,
                test_mode=False,
            ),
        ],
    ),
)
