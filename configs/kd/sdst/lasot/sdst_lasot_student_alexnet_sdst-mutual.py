# Two students that also learn from each other, the second one narrower; its weights are in the
# checkpoint under distill.peer.
_base_ = ['./sdst_lasot_student_alexnet_sdst.py', '../_base_/peer_alexnet-w050.py']

model = dict(
    mutual=dict(
        student={{_base_.peer}},
        # 0.9 an epoch, as in danier97/CFKD, and no further than 0.9 ** 12.
        weight=dict(
            value=1.0, decay='step', gamma=0.9, step_epochs=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15]
        ),
        peer_weight=0.5,
        margin=0.005,
    )
)
