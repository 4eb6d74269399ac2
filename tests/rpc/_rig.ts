import {
  type Context,
  createServer,
  implement,
  type Log,
  type LogEntry,
  publicOnly,
  rpc,
  type RpcCode,
  RpcError,
  type Server,
  type ServerOptions,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import * as v from "valibot";

/** A text there and back. */
export const Text = v.strictObject({ text: v.string() });

/** The contract most tests speak: `say` by POST, `look` by GET too, `hidden` that the guard keeps shut. */
export const Echo = service("echo.v1", {
  say: rpc(Text, v.object({ text: v.string() })),
  look: rpc(Text, v.object({ text: v.string() }), { safe: true }),
  hidden: rpc(Text, v.object({ text: v.string() })),
});

export interface Words {
  readonly text: string;
}

export interface EchoServer {
  readonly server: Server;
  /** The messages that reached a handler. */
  readonly calls: Words[];
  readonly entries: LogEntry[];
}

/** A server of `Echo` whose handlers note each message; `answer` stands in for the echo. */
export function echoServer(
  options: Partial<ServerOptions> = {},
  answer: (message: Words, context: Context) => unknown = (message) => message,
): EchoServer {
  const { log, entries } = collect();
  const calls: Words[] = [];
  const handle = (message: Words, context: Context) => {
    calls.push(message);
    return answer(message, context) as Words;
  };
  const server = createServer(implement(Echo, { say: handle, look: handle, hidden: handle }), {
    guard: publicOnly(["echo.v1/say", "echo.v1/look"]),
    log,
    ...options,
  });
  return { server, calls, entries };
}

/** A log that keeps its entries. */
export function collect(): { readonly log: Log; readonly entries: LogEntry[] } {
  const entries: LogEntry[] = [];
  return { log: (entry) => void entries.push(entry), entries };
}

export const ORIGIN = "https://echo.test";

/** A POST with a message in JSON. */
export function post(path: string, message: unknown, headers: Readonly<Record<string, string>> = {}): Request {
  return postRaw(path, JSON.stringify(message), headers);
}

/** A POST with a body as it is. */
export function postRaw(path: string, body: BodyInit, headers: Readonly<Record<string, string>> = {}): Request {
  // Node takes a stream only with `duplex`, which the web's types do not know.
  const init = { method: "POST", body, headers: { "content-type": "application/json", ...headers }, duplex: "half" };
  return new Request(ORIGIN + path, init);
}

/** A refused call as it is on the wire. */
export interface WireRefusal {
  readonly status: number;
  readonly code: RpcCode;
  readonly message: string;
  readonly correlationId: string;
  readonly details: readonly { readonly type: string; readonly value: string; readonly debug?: unknown }[];
  readonly text: string;
  readonly headers: Headers;
}

/** Reads an error and asserts that it has the one shape errors have. */
export async function refusalOf(response: Response): Promise<WireRefusal> {
  const { status, headers } = response;
  const text = await response.text();
  assert.notEqual(status, 200, text);
  assert.equal(headers.get("content-type"), "application/json");
  const { code, message, details, ...more } = JSON.parse(text);
  assert.deepEqual(more, {}, "an error has code, message and details, and no more");
  const info = details[0];
  assert.equal(info.type, "google.rpc.RequestInfo");
  const bytes = atob(info.value);
  assert.equal(bytes.charCodeAt(0), 10);
  const correlationId = bytes.slice(2);
  assert.equal(bytes.charCodeAt(1), correlationId.length);
  assert.deepEqual(info.debug, { requestId: correlationId });
  return { status, code, message, correlationId, details: details.slice(1), text, headers };
}

/** Asserts that exactly one entry was logged for the refusal, under its id and with its code. */
export function assertLogged(
  entries: readonly LogEntry[],
  refusal: { code: RpcCode; correlationId?: string | undefined },
): LogEntry {
  assert.equal(entries.length, 1);
  const [entry] = entries as readonly [LogEntry];
  assert.equal(entry.correlationId, refusal.correlationId);
  assert.equal(entry.code, refusal.code);
  return entry;
}

/** Asserts that an honest call is answered. */
export async function assertAnswers(server: Server, text = "honest"): Promise<void> {
  const response = await server.fetch(post("/echo.v1/say", { text }));
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { text });
}

/** The `RpcError` that a promise is rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<RpcError> {
  const error = await promise.then((value) => assert.fail(`it answered ${JSON.stringify(value)}`), (thrown) => thrown);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${String(error)}`);
  return error;
}

/** A promise and what settles it. */
export interface Gate<Value = void> {
  readonly opened: Promise<Value>;
  readonly open: (value: Value) => void;
}

export function gate<Value = void>(): Gate<Value> {
  let open!: (value: Value) => void;
  const opened = new Promise<Value>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Settles when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  });
}

/** Runs an action with `console.error` replaced, and gives back what it printed. */
export async function printed(action: () => unknown): Promise<string[]> {
  const lines: string[] = [];
  const original = console.error;
  console.error = (...values: unknown[]) => void lines.push(values.map(String).join(" "));
  try {
    await action();
  } finally {
    console.error = original;
  }
  return lines;
}

/** What a promise gives, or a failure where it waits for a timer that it should not wait for. */
export async function soon<Value>(promise: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, 3_000, new Error("it waits for another deadline"));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
