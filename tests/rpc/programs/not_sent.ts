/** A client that calls servers which cannot answer, and prints how each call failed. */
import process from "node:process";
import { anonymous, createClient, fetchTransport, NotSentError, rpc, RpcError, service } from "@postern/rpc/rpc";
import type { FetchOptions, RuntimeFetch } from "../../../src/runtime/runtime.ts";
import * as v from "valibot";

const Item = v.strictObject({ item: v.string() });
const Shop = service("shop.v1", { buy: rpc(Item, Item) });

/**
 * Calls each server that the first argument names.
 *
 * @param createFetch The runtime's `createFetch`.
 */
export async function callAll(createFetch: (options: FetchOptions) => RuntimeFetch): Promise<void> {
  const { caCerts, servers } = JSON.parse(process.argv[2]!);
  const fetch = createFetch({ caCerts });
  const output: Record<string, string> = {};
  for (const [name, url] of Object.entries<string>(servers)) {
    const client = createClient(Shop, fetchTransport(url, { prover: anonymous(), fetch }));
    output[name] = await client.buy({ item: "book" }, { timeoutMs: 10_000 }).then(() => "answered", nameOf);
  }
  console.log(`result ${JSON.stringify(output)}`);
  fetch[Symbol.dispose]();
}

function nameOf(error: unknown): string {
  if (error instanceof NotSentError) return `not sent, ${error.code}`;
  return error instanceof RpcError ? error.code : String(error);
}
