import * as v from "valibot";
import type { Secret } from "../auth/mod.ts";
import { type EtcdFetch, inTime, parse, post, readAll, readLines, release, unreachable } from "./etcd_exchange.ts";
import {
  AUTHENTICATE,
  below,
  type EtcdMethod,
  type EtcdWatchAnswer,
  Failure,
  prefixOf,
  RANGE,
  WATCH,
} from "./etcd_wire.ts";
import { RegistryError } from "./registry_error.ts";

/** An etcd that is reached by its JSON gateway, as one of its users. */
export interface EtcdGateway {
  /**
   * Calls a method.
   *
   * @throws {RegistryError} `unreachable`, `refused`, `too_many` or `insecure`.
   */
  call<Answer>(method: EtcdMethod<Answer>, message: unknown, signal: AbortSignal): Promise<Answer>;
  /**
   * Follows keys for a minute: after that, who watches is asked for its name again, and a connection that is dead is
   * found to be.
   *
   * @throws {RegistryError} The same, and `unreachable` where the answer ends before the minute does.
   */
  watch(message: unknown, signal: AbortSignal): AsyncIterable<EtcdWatchAnswer>;
}

/** Where etcd is, and who calls it. */
export interface EtcdGatewayOptions {
  /** Where it is, with `/v3` at the end. */
  readonly base: string;
  /** The name of the user. */
  readonly user: string;
  /** The user's password. */
  readonly password: Secret;
  /** The namespace that etcd must keep from those without a name. */
  readonly namespace: string;
  /** What sends the requests. */
  readonly send: EtcdFetch;
}

/** How long a request may take, in milliseconds. */
export const REQUEST_MS = 5_000;

/** Reaches an etcd; at first use it makes sure that it does not let in everybody. */
export function etcdGateway(options: EtcdGatewayOptions): EtcdGateway {
  let session: Promise<string> | undefined;
  /** All that is under way wait for one token, and none of them ends it for the others. */
  const tokenAfter = (stale?: Promise<string>): Promise<string> => {
    if (session && session !== stale) return session;
    const opened = inTime(REQUEST_MS, undefined, (signal) => openSession(options, signal));
    session = opened;
    opened.catch(() => {
      if (session === opened) session = undefined;
    });
    return opened;
  };
  /** A token ends after five minutes, or with the etcd that gave it: who finds that out asks for another, once. */
  const withToken = async <Value>(run: (token: string) => Promise<Value>): Promise<Value> => {
    const current = tokenAfter();
    const token = await current;
    try {
      return await run(token);
    } catch (error) {
      if (!(error instanceof StaleToken)) throw error;
    }
    try {
      return await run(await tokenAfter(current));
    } catch (error) {
      if (error instanceof StaleToken) throw refused();
      throw error;
    }
  };
  return {
    call: (method, message, signal) => withToken((token) => ask(options, method, { message, token, signal })),
    async *watch(message, signal) {
      const controller = new AbortController();
      const end = () => controller.abort();
      signal.addEventListener("abort", end);
      if (signal.aborted) end();
      let isOver = false;
      const timer = setTimeout(() => {
        isOver = true;
        end();
      }, WATCH_MS);
      try {
        const begin = (token: string) => beginWatch(options, { message, token, signal: controller.signal });
        const { first, others } = await inTime(REQUEST_MS, controller.signal, () => withToken(begin));
        yield first;
        yield* others;
      } catch (error) {
        if (!isOver) throw error;
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        end();
      }
      if (!isOver) throw unreachable("its answer broke off");
    },
  };
}

/** How long one request follows keys, in milliseconds. */
const WATCH_MS = 60_000;
/** The longest answer, in bytes: 10,000 records and their keys. */
const MAX_ANSWER = 32 * 1_024 * 1_024;
/** The most values in one answer: 16,384 entries of ten. */
const MAX_VALUES = 163_840;
/** The longest message of a watch, in bytes; etcd divides those of more than 1.5 MB before they become base64. */
const MAX_MESSAGE = 8 * 1_024 * 1_024;

interface Asking {
  readonly message: unknown;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/** Not an error that anybody gets to see. */
class StaleToken extends Error {}

async function openSession(options: EtcdGatewayOptions, signal: AbortSignal): Promise<string> {
  await assertClosed(options, signal);
  const message = { name: options.user, password: options.password.reveal() };
  const { status, text } = await exchange(options, AUTHENTICATE.path, { message, token: undefined, signal });
  if (status === 200) return answerOf(AUTHENTICATE, text).token;
  const { code } = failureOf(text);
  if (code === INVALID_ARGUMENT || code === UNAUTHENTICATED || code === PERMISSION_DENIED) {
    throw new RegistryError("refused", "Cannot use the registry: it does not take the user or the password");
  }
  throw unreachable(`it answers with the status ${status}`);
}

/** An etcd whose access control is off gives everything to everybody, and takes everything from everybody. */
async function assertClosed(options: EtcdGatewayOptions, signal: AbortSignal): Promise<void> {
  const message = { ...below(prefixOf(options.namespace)), keys_only: true, limit: "1" };
  const { status, text } = await exchange(options, RANGE.path, { message, token: undefined, signal });
  if (status === 200) {
    throw new RegistryError(
      "insecure",
      "Cannot use the registry: it answers who has no name, its access control is off",
    );
  }
  const { code } = failureOf(text);
  if (code === INVALID_ARGUMENT || code === UNAUTHENTICATED || code === PERMISSION_DENIED) return;
  throw unreachable(`it answers with the status ${status}`);
}

async function ask<Answer>(
  options: EtcdGatewayOptions,
  method: EtcdMethod<Answer>,
  asking: Asking,
): Promise<Answer> {
  const { status, text } = await exchange(options, method.path, asking);
  if (status === 200) return answerOf(method, text);
  const { code, message } = failureOf(text);
  if (code === UNAUTHENTICATED || isStale(message)) throw new StaleToken();
  if (code === PERMISSION_DENIED) throw refused();
  if (code === NOT_FOUND && method.absent !== undefined) return method.absent;
  throw unreachable(`it answers with the status ${status}`);
}

async function exchange({ base, send }: EtcdGatewayOptions, path: string, { signal, ...asking }: Asking) {
  const response = await post(send, { url: `${base}/${path}`, signal, ...asking });
  const text = await readAll(response, MAX_ANSWER, signal);
  assertFew(text);
  return { status: response.status, text };
}

/** Millions of nothings fit into an answer of the longest kind, and would be made into objects before anybody counts. */
function assertFew(text: string): void {
  let values = 0;
  for (let at = text.indexOf(","); at >= 0; at = text.indexOf(",", at + 1)) {
    if (++values > MAX_VALUES) {
      throw new RegistryError("too_many", "Cannot read the registry: its answer has too many values");
    }
  }
}

/** The first message says whether etcd lets the user watch. */
async function beginWatch(options: EtcdGatewayOptions, { message, token, signal }: Asking) {
  const messages = watchMessages(options, { message, token, signal });
  const { value } = await messages.next();
  if (!value) throw unreachable("its answer broke off");
  if (!value.canceled || value.compact_revision > 0) return { first: value, others: messages };
  await messages.return(undefined);
  if (isStale(value.cancel_reason)) throw new StaleToken();
  if (value.cancel_reason.includes("permission denied")) throw refused();
  throw unreachable("it does not let anybody watch");
}

async function* watchMessages(
  { base, send }: EtcdGatewayOptions,
  asking: Asking,
): AsyncGenerator<EtcdWatchAnswer, undefined> {
  const { signal } = asking;
  const response = await post(send, { url: `${base}/${WATCH.path}`, ...asking });
  if (response.status !== 200) {
    release(response);
    if (response.status === 401) throw new StaleToken();
    throw response.status === 403 ? refused() : unreachable(`it answers with the status ${response.status}`);
  }
  for await (const line of readLines(response, MAX_MESSAGE, signal)) {
    assertFew(line);
    yield answerOf(WATCH, line).result;
  }
  return undefined;
}

function answerOf<Answer>(method: EtcdMethod<Answer>, text: string): Answer {
  const parsed = v.safeParse(method.answer, parse(text));
  if (parsed.success) return parsed.output;
  throw unreachable(`its answer to "${method.path}" is malformed`);
}

/** What is no failure of etcd's, such as a page of a proxy, has no code. */
function failureOf(text: string): v.InferOutput<typeof Failure> {
  try {
    return v.parse(Failure, JSON.parse(text));
  } catch {
    return { code: 0, message: "" };
  }
}

/** Also after somebody changed users or roles, which gives no code of its own. */
const isStale = (words: string) => /invalid auth token|revision of auth store is old/.test(words);

const refused = () => new RegistryError("refused", "Cannot use the registry: the user lacks the right");

/** Of gRPC. */
const [INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED] = [3, 5, 7, 16];
