import { type Call, NotSentError, type Reply, RpcError } from "../rpc/mod.ts";
import type { Fleet, Member } from "./fleet.ts";
import type { Verdict } from "./health.ts";

/** Where one attempt goes. */
export interface Target {
  readonly fleet: Fleet;
  readonly member: Member;
  /** Whether it finds out if an instance that failed is well again. */
  readonly isProbe: boolean;
}

/**
 * Makes a call at one instance, and notes how that went.
 *
 * @param isOvertaken Whether another instance has answered the same call in the meantime.
 */
export async function attemptAt(
  { fleet, member, isProbe }: Target,
  call: Call,
  isOvertaken: () => boolean = () => false,
): Promise<Reply> {
  const startedAt = performance.now();
  let verdict: Verdict = "none";
  member.inFlight++;
  try {
    const reply = await member.transport(call);
    verdict = "fine";
    return reply.messages ? { ...reply, messages: counted(reply.messages, fleet, member) } : reply;
  } catch (error) {
    verdict = isOvertaken() ? "overtaken" : verdictOf(error, performance.now() - startedAt);
    throw error;
  } finally {
    member.inFlight--;
    fleet.observe(member, { verdict, tookMs: performance.now() - startedAt, isProbe });
  }
}

/** A stream is a load for as long as it is read, and may fail long after it began. */
async function* counted(messages: AsyncIterable<unknown>, fleet: Fleet, member: Member): AsyncGenerator<unknown> {
  member.inFlight++;
  try {
    yield* messages;
  } catch (error) {
    fleet.observe(member, { verdict: verdictOf(error, 0), tookMs: 0, isProbe: false });
    throw error;
  } finally {
    member.inFlight--;
  }
}

/**
 * What an error says of the instance: nothing, where the caller or this client is the reason; that it is well, where it
 * was the one who proved that it would not.
 */
function verdictOf(error: unknown, tookMs: number): Verdict {
  if (!(error instanceof RpcError)) return "none";
  if (error instanceof NotSentError) return "down";
  if (FAILURES.has(error.code)) return "failed";
  // Who gives a call next to no time must not make an instance look slow.
  if (error.code === "deadline_exceeded") return tookMs >= MIN_PATIENCE_MS ? "failed" : "none";
  return error.correlationId === undefined || error.code === "canceled" || error.code === "resource_exhausted"
    ? "none"
    : "fine";
}

const FAILURES: ReadonlySet<string> = /* @__PURE__ */ new Set(["unavailable", "internal", "unknown", "data_loss"]);
const MIN_PATIENCE_MS = 100;

/** When a second attempt starts, and where. */
export interface Hedge {
  /** After how long, in milliseconds. */
  readonly afterMs: number;
  /** Where the second attempt goes; undefined where there may be none. */
  other(): Member | undefined;
}

/** Makes a call at one instance, and if that takes too long at another too; the first answer counts. */
export async function attemptHedged(target: Target, call: Call, hedge: Hedge): Promise<Reply> {
  const endsAt = performance.now() + call.timeoutMs;
  const ending = new AbortController();
  let isOvertaken = false;
  const cancel = () => ending.abort(call.signal?.reason);
  call.signal?.addEventListener("abort", cancel);
  if (call.signal?.aborted) cancel();
  const { signal } = ending;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const first = attemptAt(target, { ...call, signal }, () => isOvertaken);
  const second = new Promise<Reply>((resolve, reject) => {
    let other: Member | undefined;
    timer = setTimeout(() => {
      try {
        other = hedge.other();
      } catch {
        // The first attempt goes on; what a timer throws would end the process.
      }
      if (!other) return reject(NO_OTHER);
      const at = { fleet: target.fleet, member: other, isProbe: false };
      attemptAt(at, { ...call, signal, timeoutMs: endsAt - performance.now() }).then((reply) => {
        isOvertaken = true;
        resolve(reply);
      }, reject);
    }, hedge.afterMs);
    first.catch(() => other ?? reject(NO_OTHER)); // it failed before a second was made
  });
  try {
    return await Promise.any([first, second]);
  } catch (error) {
    const errors = (error as AggregateError).errors as readonly unknown[];
    throw errors.findLast((each) => each !== NO_OTHER) ?? error;
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener("abort", cancel);
    ending.abort();
  }
}

const NO_OTHER = /* @__PURE__ */ Symbol("no other");
