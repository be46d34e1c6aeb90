# SiamRPN++ with MobileNetV2 (1.4): PySOT's siamrpn_mobilev2_l234_dwxcorr. 11.15 M parameters, 4.8x
# smaller than R50's. Nobody publishes ImageNet weights of this network: it starts from random ones.
_base_ = './siamese_rpn_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='mmkd.SOTMobileNetV2', width_mult=1.4, out_indices=(3, 5, 7)),
    neck=dict(in_channels=[44, 134, 448]),
    head=dict(weighted_sum=False),
    test_cfg=dict(rpn=dict(penalty_k=0.04, window_influence=0.4, lr=0.5)),
)
