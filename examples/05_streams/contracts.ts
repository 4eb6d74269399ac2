// Two contracts: in the one the server goes on answering, in the other both sides send.
import { rpc, service, stream } from "@postern/rpc";
import * as v from "valibot";

const Listed = v.pipe(v.string(), v.regex(/^[A-Z]{1,5}$/));

/** A price in cents, again and again. */
export const Ticker = service("ticker.v1", {
  watch: rpc(v.strictObject({ symbol: Listed }), stream(v.object({ cents: v.number() }))),
});

/** Pieces of a file go up, and how much of it is stored comes back; the last answer says what was stored. */
export const Files = service("files.v1", {
  upload: rpc(
    stream(v.strictObject({ bytes: v.instance(Uint8Array) })),
    stream(v.object({ storedBytes: v.number(), sha256: v.optional(v.string()) })),
  ),
});

export const DESK = "spiffe://example.org/desk";
export const TRADER = "spiffe://example.org/trader";
