"""The server of split computing: payloads in, logits out. It loads the server's half of the model and nothing else.

    obverse split export -o halves
    python examples/split_computing/server.py halves/server.safetensors --port 7700

With --port 0 the system chooses a port. The first line printed says which: "listening on 127.0.0.1 port 7700".
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

from protocol import HELLO, PATIENCE, Farewell, ProtocolError, fault, frame, read_exactly, read_frame

from obverse.codecs.split.halves import ServerHalf, load_server
from obverse.errors import ObverseError


async def serve(half: ServerHalf, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one device until it hangs up. Whatever it sends, the others are served on."""
    try:
        hello = await read_exactly(reader, len(HELLO) + 8)
        if not hello.startswith(HELLO):
            raise ProtocolError("this is a server of split models, version 1, and that was no greeting")
        half.check_partner(hello[len(HELLO) :])
        writer.write(frame(b""))
        while True:
            await asyncio.wait_for(writer.drain(), PATIENCE)
            try:
                payload = await read_frame(reader, half.code.most_bytes)
            except Farewell:
                break
            # in a thread, so that a slow network does not keep other devices waiting
            started = time.perf_counter()
            logits = await asyncio.to_thread(half.predict, payload)
            spent = min(2**32 - 1, round(1e6 * (time.perf_counter() - started)))
            writer.write(frame(spent.to_bytes(4, "little") + logits[0].astype("<f4").tobytes()))
    except (ProtocolError, ObverseError) as error:
        writer.write(fault(str(error)))
        print(f"refused: {error}", flush=True)
    except (ConnectionError, TimeoutError):
        print("refused: the connection broke, or the device reads no answers", flush=True)
    finally:
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), PATIENCE)
        writer.transport.abort()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("half", help="server.safetensors of `obverse split export`")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7700)
    arguments = parser.parse_args()
    try:
        half = load_server(arguments.half)
        half.check()
        server = await asyncio.start_server(lambda r, w: serve(half, r, w), arguments.host, arguments.port)
    except (ObverseError, OSError) as error:
        raise SystemExit(f"server: {error}") from None
    host, port = server.sockets[0].getsockname()[:2]
    print(f"listening on {host} port {port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
