import { type Guard, type Incoming, type Proof, ProveAgainError, type Prover, RpcError } from "../../src/rpc/mod.ts";
import type { Channel } from "../../src/rpc/channel.ts";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

const KEY = new TextEncoder().encode("of both sides");

/** Chains of MACs: each proof is over the one before it, in a direction of its own. */
export function chain(side: "client" | "server"): Channel & { readonly opened: Uint8Array[] } {
  const other = side === "client" ? "server" : "client";
  let sealed: Uint8Array = new TextEncoder().encode(side);
  let next: Uint8Array = new TextEncoder().encode(other);
  const opened: Uint8Array[] = [];
  const mac = (before: Uint8Array, block: Uint8Array) =>
    hmac(sha256, KEY, Uint8Array.of(...before, ...block)).slice(0, 16);
  return {
    opened,
    seal: (block) => sealed = mac(sealed, block),
    open(block, proof) {
      const expected = mac(next, block);
      if (proof.length !== 16 || expected.some((byte, i) => byte !== proof[i])) {
        throw new RpcError("unauthenticated", "Not the next block");
      }
      next = expected;
      opened.push(block);
    },
  };
}

/** A guard and a prover that know each other, and what they saw. */
export function acquainted({ introduces = false }: { readonly introduces?: boolean } = {}) {
  const calls: Incoming[] = [];
  const proofs = { asked: 0, verified: 0 };
  const guard: Guard = {
    start() {},
    admit({ request, carries, sealRefusal }) {
      if (carries !== "connection") throw new RpcError("unauthenticated", "Not this way");
      sealRefusal(({ status, body }) => ({ proof: `${status} ${body}` }));
      if (request!.headers.get("key") === "old") {
        throw new ProveAgainError("unauthenticated", "Prove it again", { ageMs: 1 });
      }
      if (request!.headers.get("key") !== "new") throw new RpcError("unauthenticated", "Who are you");
      return {
        channel: chain("server"),
        seal: ({ status, body, contentType }) => ({ proof: `${status} ${body} ${contentType}` }),
        admitCall(incoming) {
          calls.push(incoming);
          if (incoming.request!.headers.get("call") !== incoming.method?.path) {
            throw new RpcError("unauthenticated", "Not proven");
          }
          return {};
        },
      };
    },
  };
  const prover: Prover = {
    prove: (request): Proof => {
      proofs.asked++;
      if (request.method !== "GET" || request.body !== undefined || request.call) {
        throw new Error("This is no connection");
      }
      return proof(introduces ? "old" : "new");
    },
  };
  const proof = (key: string): Proof => ({
    headers: { key },
    isIntroduction: key === "old",
    verify({ status, headers, body }) {
      const text = body && new TextDecoder().decode(body);
      const type = status === 200 ? ` ${headers.get("content-type")}` : "";
      if (headers.get("proof") !== `${status} ${text}${type}`) {
        throw new RpcError("unavailable", "Cannot trust the answer");
      }
      proofs.verified++;
    },
    again: () => proof("new"),
    channel: chain("client"),
    headersFor: ({ method }) => ({ call: method.path }),
  });
  return { guard, prover, calls, proofs };
}
