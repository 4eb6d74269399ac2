/** What the mutual TLS client programs share: call each server with each certificate, and say what came of it. */
import process from "node:process";
import type { FetchOptions, RuntimeFetch } from "../../../src/runtime/runtime.ts";
import { runCalls } from "./calls.ts";

/** What a client program is asked to do. */
export interface MtlsClientInput {
  /** Whom to trust. */
  readonly caCerts: readonly string[];
  /** The certificates to show, each with a fetch of its own; one without `cert` shows none. */
  readonly identities: readonly { readonly cert?: string; readonly key?: string }[];
  /** Servers, by name. */
  readonly urls: Readonly<Record<string, string>>;
}

/** What came of it, by server and in the order of the identities. */
export interface MtlsClientOutput {
  /** The text of `/peer`, or `refused`. */
  readonly peers: Record<string, string[]>;
  /** What went wrong with the calls of the app, for the first identity. */
  readonly failed: Record<string, string[]>;
}

/**
 * Does what a client program is asked.
 *
 * @param fetches A fetch for each identity.
 * @param urls Servers, by name.
 * @returns What came of it.
 */
export async function runJobs(
  fetches: readonly ((input: string, init?: RequestInit) => Promise<Response>)[],
  urls: Readonly<Record<string, string>>,
): Promise<MtlsClientOutput> {
  const output: MtlsClientOutput = { peers: {}, failed: {} };
  for (const [name, url] of Object.entries(urls)) {
    output.peers[name] = [];
    for (const fetch of fetches) {
      const text = await fetch(`${url}/peer`).then((response) => response.text()).catch(() => "refused");
      output.peers[name].push(text);
    }
    const results = Object.entries(await runCalls(fetches[0], url));
    output.failed[name] = results.filter(([, result]) => result !== "ok").map(([call, result]) => `${call} ${result}`);
  }
  return output;
}

/**
 * Does what the first argument says and prints what came of it.
 *
 * @param createFetch The runtime's `createFetch`.
 */
export async function runClient(createFetch: (options: FetchOptions) => RuntimeFetch): Promise<void> {
  const { caCerts, identities, urls }: MtlsClientInput = JSON.parse(process.argv[2]);
  const fetches = identities.map((identity) => createFetch({ caCerts, ...identity }));
  console.log(`result ${JSON.stringify(await runJobs(fetches, urls))}`);
  for (const fetch of fetches) fetch[Symbol.dispose]();
}
