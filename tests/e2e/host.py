"""Runs a service until stdin ends: `python -m tests.e2e.host SETTINGS_JSON`; prints its URL once it is ready."""

import json
import sys

from raysignal.engine.core.private_files import restrict_new_files
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service


def main() -> None:
    restrict_new_files()  # as the command line does
    with local_service(Settings(**json.loads(sys.argv[1]))) as service:
        sys.stdout.write(service.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
