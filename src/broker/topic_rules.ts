import type { Policy } from "../auth/mod.ts";
import { isTopicName, isTopicPattern } from "../internal/topic_name.ts";
import type { Caller } from "../rpc/mod.ts";

/** Where subscribers of an encrypted topic ask its publishers for keys. */
export const joinTopic = (topic: string): string => `${JOIN}${topic}`;
/** Where publishers of an encrypted topic give its subscribers the keys. */
export const keysTopic = (topic: string): string => `${KEYS}${topic}`;
/** Whether a topic carries keys, and no messages of anybody's. */
export const isKeyTopic = (name: string): boolean => RESERVED.test(name);

/**
 * Whether a policy lets somebody publish to a topic.
 *
 * Who may subscribe to a topic may ask for its keys, and who may publish to it may give them.
 */
export function mayPublish(policy: Policy, caller: Caller, topic: string): boolean {
  if (!isTopicName(topic)) return false;
  const [verb, name] = meaningOf(topic, { join: "subscribe", keys: "publish", other: "publish" });
  return allows(policy, caller, verb, name);
}

/** Whether a policy lets somebody subscribe to all that a pattern covers. */
export function maySubscribe(policy: Policy, caller: Caller, pattern: string): boolean {
  if (!isTopicPattern(pattern)) return false;
  const [verb, name] = meaningOf(pattern, { join: "publish", keys: "subscribe", other: "subscribe" });
  return allows(policy, caller, verb, name);
}

/** Whether a policy lets somebody read what is published to a topic: a pattern covers topics of keys only where it says so. */
export function mayReceive(policy: Policy, caller: Caller, topic: string): boolean {
  return isTopicName(topic) && maySubscribe(policy, caller, topic);
}

type Verb = "publish" | "subscribe";

function meaningOf(name: string, verbs: Readonly<Record<"join" | "keys" | "other", Verb>>): readonly [Verb, string] {
  if (name.startsWith(JOIN)) return [verbs.join, name.slice(JOIN.length)];
  if (name.startsWith(KEYS)) return [verbs.keys, name.slice(KEYS.length)];
  return [verbs.other, name];
}

function allows(policy: Policy, caller: Caller, verb: Verb, name: string): boolean {
  // A rule's wildcard is for the topics of users; of the reserved ones there are no others than those above.
  if (isKeyTopic(name) || !isTopicPattern(name)) return false;
  return policy.matching(verb === "publish" ? { caller, publish: name } : { caller, subscribe: name }).length > 0;
}

const RESERVED = /^postern(?:\.|$)/i;
const JOIN = "postern.join.";
const KEYS = "postern.keys.";
