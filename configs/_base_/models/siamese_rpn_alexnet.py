# SiamRPN++ with AlexNet, one level and no neck: PySOT's siamrpn_alex_dwxcorr. 6.25 M parameters,
# 8.6x smaller than R50's 53.95 M. The whole 6 x 6 map of the template is the kernel; the response
# has 17 x 17 cells in training (255 pixels) and 21 x 21 in tracking (287).
_base_ = './siamese_rpn_r50.py'

model = dict(
    # Random weights. ImageNet's, which PySOT starts from, come from a file of yours:
    # init_cfg=dict(type='Pretrained', checkpoint='pretrained_models/alexnet-bn.pth')
    backbone=dict(_delete_=True, type='mmkd.SOTAlexNet', width_mult=1.0),
    neck=None,
    head=dict(in_channels=[256], weighted_sum=False),
    test_cfg=dict(
        search_size=287,
        center_size=6,
        rpn=dict(penalty_k=0.16, window_influence=0.40, lr=0.30),
    ),
)
