import type { StartPosition } from "../broker.ts";
import type { MessageLog } from "./message_log.ts";

/** Makes the name of a log, which no other has. */
export function createEpoch(): string {
  return crypto.randomUUID().slice(0, 8);
}

/**
 * Writes a position.
 *
 * @param log The name of its log.
 * @param position Its number.
 */
export function positionText({ epoch }: { readonly epoch: string }, position: number): string {
  return `${epoch}.${position}`;
}

/**
 * Finds where a subscription begins.
 *
 * A position of another log, or one that is not kept any more, is taken for the earliest: what comes twice can be told,
 * what never comes cannot.
 *
 * @param log The messages.
 * @param epoch The log's name.
 * @param start What the subscriber asked for.
 */
export function startIn<Event>(log: MessageLog<Event>, epoch: string, start: StartPosition): number {
  if (start === "new") return log.end;
  if (start === "earliest") return log.first;
  if ("time" in start) return firstSince(log, start.time.getTime());
  const digits = start.after.slice(epoch.length + 1);
  const isOurs = start.after === `${epoch}.${digits}` && /^\d{1,15}$/.test(digits);
  const position = isOurs ? +digits : 0;
  return position >= log.first && position < log.end ? position + 1 : log.first;
}

/** The first message that is not older than a time; they are in the order of their times. */
function firstSince<Event>(log: MessageLog<Event>, timeMs: number): number {
  let [low, high] = [log.first, log.end];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (log.at(middle).atMs < timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
