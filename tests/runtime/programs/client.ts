/** What the client programs share: do what they are asked, and say what came of it. */
import process from "node:process";
import type { FetchOptions, RuntimeFetch } from "../../../src/runtime/runtime.ts";
import { type Fetch, runCalls } from "./calls.ts";

/** What a client program is asked to do. */
export interface ClientInput {
  /** Whom to trust beside the runtime's own authorities. */
  readonly caCerts: readonly string[];
  /** Servers to call in every way, by name. */
  readonly call?: Readonly<Record<string, string>>;
  /** Servers to send one GET to, by name. */
  readonly get?: Readonly<Record<string, string>>;
}

/** What came of it: by server and call, and by server. */
export interface ClientOutput {
  /** `ok` or what went wrong, by server and call. */
  readonly call: Record<string, Record<string, string>>;
  /** `answered` with a status or `refused` with the reasons, by server. */
  readonly get: Record<string, string>;
}

/**
 * Does what a client program is asked.
 *
 * @param fetch The runtime's fetch.
 * @param input What to do.
 * @returns What came of it.
 */
export async function runJobs(fetch: Fetch, input: ClientInput): Promise<ClientOutput> {
  const output: ClientOutput = { call: {}, get: {} };
  for (const [name, url] of Object.entries(input.call ?? {})) output.call[name] = await runCalls(fetch, url);
  for (const [name, url] of Object.entries(input.get ?? {})) output.get[name] = await get(fetch, url);
  return output;
}

/**
 * Does what the first argument says and prints what came of it.
 *
 * @param createFetch The runtime's `createFetch`.
 */
export async function runClient(createFetch: (options: FetchOptions) => RuntimeFetch): Promise<void> {
  const input: ClientInput = JSON.parse(process.argv[2]);
  const fetch = createFetch({ caCerts: input.caCerts });
  console.log(`result ${JSON.stringify(await runJobs(fetch, input))}`);
  fetch[Symbol.dispose]();
}

async function get(fetch: Fetch, url: string): Promise<string> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return `answered ${response.status}`;
  } catch (error) {
    return `refused ${reasons(error)}`;
  }
}

function reasons(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  return [code, error.message, error.cause && reasons(error.cause)].filter(Boolean).join(": ");
}
