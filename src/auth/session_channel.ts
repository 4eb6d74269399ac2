import type { HashProvider } from "../internal/hash.ts";
import { type Channel, PROOF_BYTES, RpcError } from "../rpc/mod.ts";
import type { SessionKeys } from "./session_keys.ts";

/** How the channel of one stream or connection is made. */
export interface ChannelTerms {
  readonly keys: SessionKeys;
  readonly side: "client" | "server";
  /** The signature of the request that began it: no two requests have the same. */
  readonly signature: string;
  readonly hash: HashProvider;
  /** Throws an {@linkcode RpcError} when what it was opened with holds no longer. */
  readonly assertHolds?: () => void;
}

/**
 * Proves the blocks of a stream or a connection: each proof is a MAC over the block and the proof before it, under a key
 * that is made for this direction of this one stream.
 *
 * So a block that was changed, added, left out, swapped, sent back or taken from another stream has a proof that is wrong;
 * and a stream that was cut lacks its end, which is in a block too.
 */
export function sessionChannel({ keys, side, signature, hash, assertHolds }: ChannelTerms): Channel {
  const own = chain(hash, keys[side], signature);
  const theirs = chain(hash, keys[side === "client" ? "server" : "client"], signature);
  let isBroken = false;
  return {
    seal: own, // whether a call may still answer is asked call by call; that it may not has to be sealed too
    open(block, proof) {
      if (isBroken || !isSame(theirs(block), proof)) {
        isBroken = true; // nothing that follows is in its place
        throw new RpcError("unavailable", "Cannot trust the stream: a part of it is not what the other side sent");
      }
      assertHolds?.();
    },
  };
}

function chain(hash: HashProvider, key: Uint8Array, signature: string): (block: Uint8Array) => Uint8Array {
  const mac = hash.hmac(hash.hmac(key)(new TextEncoder().encode(CHANNEL_LABEL + signature)));
  let previous: Uint8Array = new Uint8Array(PROOF_BYTES);
  let scratch = new Uint8Array(4_096);
  return (block) => {
    const length = PROOF_BYTES + block.length;
    if (scratch.length < length) scratch = new Uint8Array(Math.max(length, 2 * scratch.length));
    scratch.set(previous);
    scratch.set(block, PROOF_BYTES);
    previous = mac(scratch.subarray(0, length)).slice(0, PROOF_BYTES);
    return previous;
  };
}

/** Takes the same time wherever the two differ. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

/** No signature base begins with it, so that the key's two uses cannot meet: a base begins with a quotation mark. */
const CHANNEL_LABEL = "\u0001postern channel ";
