"""Writes a Siamese tracker as two ONNX files: template.onnx and search.onnx.

template.onnx maps the template, (1, 3, 127, 127) BGR 0..255, to the kernels that it is found by,
once per video; search.onnx maps a search image, (1, 3, 255, 255) or as the config says, and the
kernels to the maps cls and reg. Where the packages onnx and onnxruntime are installed the files are
checked and run, and their numbers compared with torch's.
"""

from __future__ import annotations

import argparse
import sys

from mmkd.apis.export_sot import OPSETS, export_siamese
from mmkd.apis.inference import init_tracker
from mmkd.errors import MMKDError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('config', help="of type='mmkd.SiamRPN', or one that distils into it")
    parser.add_argument('out', help='folder for the two files')
    parser.add_argument('--checkpoint', help='by default weights are random')
    parser.add_argument(
        '--opset',
        type=int,
        default=13,
        help=f'version of the operators, {OPSETS[0]} to {OPSETS[1]}',
    )
    args = parser.parse_args()
    model = init_tracker(args.config, args.checkpoint)
    for file in export_siamese(model, args.out, args.opset):
        sizes = ', '.join(f'{name} {shape}' for name, shape in file.inputs.items())
        results = ', '.join(f'{name} {shape}' for name, shape in file.outputs.items())
        print(f'{file.path}: {sizes} -> {results}')
        if file.error is not None:
            print(
                f'  checked by {" and ".join(file.checked)}; differs from torch by {file.error:.1e}'
            )
        else:
            print(f'  checked by {file.checked[0]}' if file.checked else '  not checked: no onnx')


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
