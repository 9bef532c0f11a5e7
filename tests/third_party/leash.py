"""Runs a server for as long as the one who started it lives.

    leash.py COMMAND [ARGUMENT...]

The starter keeps this program's standard input open. When that closes, because the starter closed it or because it
died in whatever way, the command and all its children are ended.
"""

import os
import signal
import subprocess
import sys
import threading


def main():
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def wait_for_the_starter():
        while sys.stdin.buffer.read(4096):
            pass
        end(server)

    threading.Thread(target=wait_for_the_starter, daemon=True).start()
    return server.wait()


def end(server):
    """Ends the server's whole session: kindly, and after three seconds in any case."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(timeout=3)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())
