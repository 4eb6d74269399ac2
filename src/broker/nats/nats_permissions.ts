import type { Policy } from "../../auth/mod.ts";
import { coversTopic, isTopicPattern } from "../../internal/topic_name.ts";
import type { Caller } from "../../rpc/mod.ts";
import {
  assertInboxPrefix,
  assertStream,
  assertSubjectPrefix,
  groupName,
  inboxPrefixOf,
  subjectOf,
} from "./nats_names.ts";
import { joinTopic, keysTopic } from "../topic_rules.ts";

/** What NATS lets one user do: which subjects it may publish and subscribe to. No list is empty, which would allow everything. */
export interface NatsPermissions {
  /** What it may publish to. */
  readonly publish: { readonly allow: readonly string[] };
  /** What it may subscribe to. */
  readonly subscribe: { readonly allow: readonly string[] };
}

/** For which broker rights are made. */
export interface NatsPermissionsOptions {
  /** As for `natsBroker`. */
  readonly subjectPrefix?: string;
  /** Where answers for this user come, which no other user may listen to. @default {natsInboxPrefix(caller.id)} */
  readonly inboxPrefix?: string;
  /** What is used of JetStream; without it, the rights are those for NATS alone. */
  readonly jetstream?: NatsStreamRights;
}

/** What a user may do with a stream. */
export interface NatsStreamRights {
  /** The stream's name. */
  readonly stream: string;
  /** The groups that it joins, each with the pattern that it subscribes with. @default {[]} */
  readonly groups?: readonly { readonly group: string; readonly pattern: string }[];
  /**
   * Whether it also subscribes without a group.
   *
   * It needs consumers of any name then, and so could also acknowledge in the name of other consumers of the stream, or change
   * them: it could keep messages from others, but read none that it may not.
   *
   * @default {false where groups are named}
   */
  readonly alone?: boolean;
  /**
   * Whether a rule to subscribe that ends in `*` may let this user read what is deeper than the rule, as if it ended in `>`.
   *
   * NATS cannot tell them apart where a consumer is made; without this, such a rule is refused.
   *
   * @default {false}
   */
  readonly deeper?: boolean;
}

/** A user for the configuration of a server. */
export interface NatsUser {
  /** Its public nkey, which begins with `U`. */
  readonly nkey: string;
  /** What it may do. */
  readonly permissions: NatsPermissions;
}

/**
 * Where answers for an identity come, if its user has no other place for them.
 *
 * @param id The identity, as `spiffe://example.org/orders`.
 * @returns `inboxPrefix` for `wsconnect`.
 */
export function natsInboxPrefix(id: string): string {
  return inboxPrefixOf(id);
}

/**
 * Makes the rights that a NATS server gives one identity, from the same policy that publishers and receivers check.
 *
 * They are as narrow as NATS can say it, and never narrower than the policy: `when` of a rule is only for receivers to check.
 * Among them are the topics that the keys of encrypted topics come by.
 *
 * @example The users of a server
 * ```ts ignore
 * import { natsPermissions, natsUsers } from "@postern/rpc/broker";
 *
 * const permissions = natsPermissions(policy, orders, { subjectPrefix: "events" });
 * console.log(natsUsers([{ nkey: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", permissions }]));
 * ```
 *
 * @param policy Who may publish and subscribe to what.
 * @param caller Whose rights they are.
 * @param options The broker's prefix, and its stream.
 * @returns The rights.
 * @throws {TypeError} A rule begins with a wildcard, and there is no `subjectPrefix`: it would also allow NATS's own subjects.
 *   With JetStream: what is read ends in `*` without `deeper`; or a group's pattern is more than the
 *   policy allows. An option is malformed.
 */
export function natsPermissions(
  policy: Policy,
  caller: Caller,
  { subjectPrefix, inboxPrefix = inboxPrefixOf(caller.id), jetstream }: NatsPermissionsOptions = {},
): NatsPermissions {
  assertSubjectPrefix(subjectPrefix);
  assertInboxPrefix(inboxPrefix);
  const { publish, subscribe } = policy.topicsOf(caller);
  for (const pattern of [...publish, ...subscribe]) {
    if (subjectPrefix === undefined && /^[*>]/.test(pattern)) {
      throw new TypeError(
        `Cannot make rights: without a "subjectPrefix", "${pattern}" would cover NATS's own subjects`,
      );
    }
  }
  const sends = [...publish, ...publish.map(keysTopic), ...subscribe.map(joinTopic)];
  const reads = [...subscribe, ...subscribe.map(keysTopic), ...publish.map(joinTopic)];
  const subjects = (patterns: readonly string[]) => patterns.map((pattern) => subjectOf(subjectPrefix, pattern));
  const rights = {
    publish: [...subjects(sends), ...jetstream ? apiSubjects(reads, { subjectPrefix, jetstream }) : []],
    // What a stream keeps comes to the inbox, by consumers.
    subscribe: [`${inboxPrefix}.>`, ...jetstream ? [] : subjects(reads)],
  };
  return {
    publish: { allow: rights.publish.length > 0 ? unique(rights.publish) : [NOWHERE] },
    subscribe: { allow: unique(rights.subscribe) },
  };
}

/**
 * Writes users for the configuration of a NATS server, as the value of `users` of an account.
 *
 * @param users The users.
 * @returns The text, one user a line.
 * @throws {TypeError} A key is no public key of a user, or is there twice.
 */
export function natsUsers(users: readonly NatsUser[]): string {
  const keys = new Set(users.map(({ nkey }) => nkey));
  if (keys.size < users.length) throw new TypeError("Cannot write the users: two have the same key");
  const lines = users.map(({ nkey, permissions: { publish, subscribe } }) => {
    if (!/^U[A-Z2-7]{55}$/.test(nkey)) throw new TypeError("Cannot write the users: a key is no public key of a user");
    if (publish.allow.length === 0 || subscribe.allow.length === 0) {
      throw new TypeError("Cannot write the users: an empty list would allow everything");
    }
    return `  { nkey: ${nkey}, permissions: { publish: { allow: ${JSON.stringify(publish.allow)} }, ` +
      `subscribe: { allow: ${JSON.stringify(subscribe.allow)} } } }`;
  });
  return `[\n${lines.join("\n")}\n]`;
}

interface StreamOf {
  readonly subjectPrefix: string | undefined;
  readonly jetstream: NatsStreamRights;
}

/** What has to be published to JetStream itself. */
function apiSubjects(reads: readonly string[], { subjectPrefix, jetstream }: StreamOf): readonly string[] {
  const { stream, groups = [], alone = groups.length === 0, deeper = false } = jetstream;
  assertStream(stream);
  const look = `$JS.API.STREAM.INFO.${stream}`;
  const ofGroups = groups.flatMap(({ group, pattern }) => {
    if (!isTopicPattern(pattern) || !reads.some((read) => coversTopic(read, pattern))) {
      throw new TypeError(`Cannot make rights: the policy does not let this group subscribe to "${pattern}"`);
    }
    const subject = subjectOf(subjectPrefix, pattern);
    const name = groupName(group, subject);
    assertTellable(subject, deeper);
    return [
      createSubject(stream, name, subject),
      `$JS.API.CONSUMER.INFO.${stream}.${name}`,
      `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`,
      `$JS.ACK.${stream}.${name}.>`,
    ];
  });
  if (!alone || reads.length === 0) return [look, ...ofGroups];
  const ofAny = reads.map((read) => {
    const subject = subjectOf(subjectPrefix, read);
    assertTellable(subject, deeper);
    return createSubject(stream, "*", subject);
  });
  return [look, ...ofGroups, ...ofAny, `$JS.ACK.${stream}.*.>`];
}

/** A consumer is made by a subject that ends in what it reads. */
const createSubject = (stream: string, name: string, subject: string) =>
  `$JS.API.CONSUMER.CREATE.${stream}.${name}.${subject}`;

/** There, ">" is a token as any other, and a "*" in a right stands for it. */
function assertTellable(subject: string, deeper: boolean): void {
  if (deeper || !subject.endsWith("*")) return;
  const deep = `${subject.slice(0, -1)}>`;
  throw new TypeError(`Cannot make rights: with a stream, "${subject}" would be "${deep}"; "deeper: true" takes that`);
}

const unique = (subjects: readonly string[]) => [...new Set(subjects)];
/** Who may publish nothing: an empty list would allow everything. */
const NOWHERE = "_NOWHERE";
