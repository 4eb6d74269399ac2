// The server: a stream is a generator, and it ends when its caller leaves.
import { cbor, createServer, implement, RpcError, type Server } from "@postern/rpc";
import { allow, policy, protect } from "@postern/rpc/auth";
import type { Log } from "@postern/rpc/rpc";
import { join, trust } from "../02_identity/authority.ts";
import { DESK, Files, Ticker, TRADER } from "./contracts.ts";

const MAX_FILE_BYTES = 4 * 1024 * 1024;
const rules = policy([allow({ caller: TRADER, call: ["ticker.v1/watch", "files.v1/upload"] })]);

const ticker = implement(Ticker, {
  async *watch({ symbol }, context) {
    let prices = 0;
    try {
      for (let cents = 1_200;; cents += prices % 3 ? 5 : -7) {
        yield { cents };
        prices++;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      context.log("The watcher has left", { symbol, prices });
    }
  },
});

const files = implement(Files, {
  async *upload(pieces) {
    const stored: Uint8Array<ArrayBuffer>[] = [];
    let storedBytes = 0;
    for await (const { bytes } of pieces) {
      storedBytes += bytes.length;
      if (storedBytes > MAX_FILE_BYTES) throw new RpcError("resource_exhausted", "The file is too large");
      stored.push(bytes);
      yield { storedBytes };
    }
    yield { storedBytes, sha256: await sha256(new Blob(stored)) };
  },
});

export async function createDesk(log: Log): Promise<Server> {
  const identity = await join(DESK, ["ticker.v1", "files.v1"]);
  return createServer([ticker, files], {
    guard: protect({ identity, trust, policy: rules }),
    codecs: [cbor()], // it has bytes, which JSON would have to write as text
    log,
  });
}

async function sha256(blob: Blob): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer())).toHex();
}
