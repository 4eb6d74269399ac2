// A gateway that says what a test wants: an etcd that lies, stalls or is not one.
import { etcdRegistry, type EtcdRegistryOptions } from "../../src/registry/mod.ts";
import type { Registry } from "../../src/registry/mod.ts";

/** A request as it came. */
export interface EtcdCall {
  /** Its path below `/v3/`. */
  readonly path: string;
  readonly token: string | undefined;
  readonly message: Record<string, unknown>;
  readonly init: RequestInit;
}

/** What answers: an object as JSON with the status 200, or a response as it is. */
export type EtcdAnswer = (call: EtcdCall) => unknown;

/** A registry of such a gateway, and what was sent to it. */
export interface LyingEtcd {
  readonly registry: Registry;
  readonly calls: EtcdCall[];
  /** The paths that were asked for, in order. */
  paths(): string[];
}

export const PASSWORD = "s3cret-pass";

/** A failure as etcd answers with it. */
export const failing = (status: number, code: number, message = "etcdserver: no"): Response =>
  Response.json({ error: message, message, code }, { status });

/** Lets in who has a token, with the token `t1`, then `t2`; everything else is up to the test. */
export function lyingEtcd(answers: Record<string, EtcdAnswer>, options: Partial<EtcdRegistryOptions> = {}): LyingEtcd {
  const calls: EtcdCall[] = [];
  let tokens = 0;
  const usual = ({ path, token }: EtcdCall): unknown => {
    if (path === "kv/range" && token === undefined) return failing(400, 3, "etcdserver: user name is empty");
    if (path === "auth/authenticate") return { token: `t${++tokens}` };
    return undefined;
  };
  const fetch = async (url: string, init: RequestInit) => {
    const token = new Headers(init.headers).get("authorization") ?? undefined;
    const path = new URL(url).pathname.replace("/v3/", "");
    const call = { path, token, message: JSON.parse(init.body as string), init };
    calls.push(call);
    const isProbe = path === "kv/range" && token === undefined;
    const answer = await (answers[isProbe ? "probe" : path]?.(call) ?? usual(call) ?? failing(404, 12));
    return answer instanceof Response ? answer : Response.json(answer);
  };
  const registry = etcdRegistry({ url: "https://etcd.test", user: "orders", password: PASSWORD, fetch, ...options });
  return { registry, calls, paths: () => calls.map(({ path }) => path) };
}

/** How the answer to a watch is over; where nothing is said, nothing more comes. */
export interface WatchEnd {
  /** Whether it ends behind the last message. */
  readonly ends?: boolean;
  /** When it fails, as what a runtime reads does when the request is given up. */
  readonly breaksOn?: AbortSignal;
}

/** What a watch sends: messages, one a line. */
export function watchStream(results: readonly unknown[], { ends = false, breaksOn }: WatchEnd = {}): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const result of results) controller.enqueue(encoder.encode(`${JSON.stringify({ result })}\n`));
      if (ends) controller.close();
      breaksOn?.addEventListener("abort", () => controller.error(new Error("The request was given up")));
    },
  });
  return new Response(body);
}

/** A key of the service `a.v1`, with a value, as etcd shows it. */
export function kv(name: string, value: string, revision = 1) {
  const mod_revision = String(revision);
  return { key: btoa(`/postern/default/a.v1/${name}`), value: btoa(value), mod_revision, lease: "7" };
}

export const header = (revision: number) => ({ revision: String(revision) });

/** How long `mustCome` waits, which is no time of what is tested. */
const PATIENCE_MS = 20_000;

/** Runs something with all timers a hundred times faster; returns how long they were meant to be, in milliseconds. */
export async function hurried(run: () => Promise<void>): Promise<number[]> {
  const { setTimeout: real } = globalThis;
  const waits: number[] = [];
  const fast = (callback: () => void, ms = 0) => {
    waits.push(ms);
    return real(callback, ms === PATIENCE_MS ? ms : ms / 100);
  };
  globalThis.setTimeout = fast as unknown as typeof setTimeout;
  try {
    await run();
  } finally {
    globalThis.setTimeout = real;
  }
  return waits;
}
