"""Writes the student of a training checkpoint alone, its hash in the name."""

import argparse
import sys

from mmkd.apis.publish import publish_model
from mmkd.errors import MMKDError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint of a training, distilled or not')
    parser.add_argument('target', nargs='?', help='name to write; the hash is added to it')
    parser.add_argument(
        '--inference', action='store_true', help='leave out the identity classifier as well'
    )
    args = parser.parse_args()
    try:
        print(publish_model(args.source, args.target, args.inference))
    except MMKDError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
