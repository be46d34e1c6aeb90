# Two students of one kind that also learn from each other; the second one's weights are in the
# checkpoint under distill.peer. Any other config of a student may stand there.
_base_ = './sdst_lasot_student_alexnet_sdst.py'

model = dict(
    mutual=dict(
        student={{_base_.model.student}},
        # 0.9 an epoch, as in danier97/CFKD, and no further than 0.9 ** 12.
        weight=dict(
            value=1.0, decay='step', gamma=0.9, step_epochs=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15]
        ),
        peer_weight=0.5,
        margin=0.005,
    )
)
