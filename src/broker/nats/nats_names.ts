import { toBase64Url } from "../../internal/base64.ts";
import { nobleHash } from "../../internal/hash.ts";
import { isTopicName } from "../../internal/topic_name.ts";

/** The subject of a topic, or of a pattern. */
export function subjectOf(prefix: string | undefined, pattern: string): string {
  return prefix === undefined ? pattern : `${prefix}.${pattern}`;
}

/** The topic of a subject; undefined where it is of none: a pattern of NATS reaches further than one of topics. */
export function topicOf(prefix: string | undefined, subject: string): string | undefined {
  const start = prefix === undefined ? 0 : prefix.length + 1;
  if (prefix !== undefined && !subject.startsWith(`${prefix}.`)) return undefined;
  const topic = subject.slice(start);
  return isTopicName(topic) ? topic : undefined;
}

/**
 * What NATS calls a group on some subjects: its durable consumer, or its queue.
 *
 * A hash, because the name is one token, and because a queue of NATS with one name is one on all subjects, where a group is one
 * for its pattern. No two groups have the same.
 */
export function groupName(group: string, subject: string): string {
  return `g-${hashOf(`${group}\n${subject}`)}`;
}

/** Where answers for an identity go, if nothing else is said. */
export function inboxPrefixOf(id: string): string {
  return `_INBOX_${hashOf(id)}`;
}

/** A name that nobody else has. */
export function randomName(): string {
  return toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
}

/** A prefix of subjects that can stand in front of topics. */
export function assertSubjectPrefix(prefix: string | undefined): void {
  if (prefix !== undefined && !isTopicName(prefix)) {
    throw new TypeError(`Cannot use NATS: "subjectPrefix" is letters, digits and "_", joined by "."`);
  }
}

/** The name of a stream, which becomes a part of subjects. */
export function assertStream(stream: string): void {
  if (!/^[\w-]{1,255}$/.test(stream)) {
    throw new TypeError(`Cannot use NATS: a stream's name is 1 to 255 letters, digits, "_" and "-"`);
  }
}

/** A prefix of inboxes. */
export function assertInboxPrefix(prefix: string): void {
  if (!/^_INBOX(?:[\w-]{0,120})(?:\.[\w-]{1,60})?$/.test(prefix)) {
    throw new TypeError(`Cannot use NATS: "inboxPrefix" begins with "_INBOX", and has letters, digits, "_" and "-"`);
  }
}

const hashOf = (text: string) => toBase64Url(nobleHash().sha256(new TextEncoder().encode(text)));
