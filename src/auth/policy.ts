import { coversTopic, isTopicPattern } from "../internal/topic_name.ts";
import type { Caller, Service } from "../rpc/mod.ts";
import { parseSpiffeId, parseWorkloadId } from "./spiffe_id.ts";

/** What a rule looks at when it decides. */
export interface Question {
  /** Who asks; undefined for a caller that proves nothing. */
  readonly caller: Caller | undefined;
  /** What it asks for, as `greeter.v1/hello`. */
  readonly call: string;
  /** Whether it shows a right that allows the method. */
  readonly capability: boolean;
}

/** What a rule looks at when somebody publishes, or subscribes. */
export type TopicQuestion =
  | {
    /** Who asks. */
    readonly caller: Caller;
    /** The topic that it publishes to. */
    readonly publish: string;
    /** Never there beside it. */
    readonly subscribe?: undefined;
  }
  | {
    /** Who asks. */
    readonly caller: Caller;
    /** The topic, or the pattern of topics, that it subscribes to. */
    readonly subscribe: string;
    /** Never there beside it. */
    readonly publish?: undefined;
  };

/** What a caller may do with topics: names, with `*` for one segment and `>` at the end for one or more. */
export interface TopicRights {
  /** Where it may publish. */
  readonly publish: readonly string[];
  /** What it may subscribe to. */
  readonly subscribe: readonly string[];
}

/** One rule: who may call what, or publish and subscribe to which topics. All of its conditions must hold. */
export interface Rule {
  /** The methods, as `service/method`, or `service/*` for each that the service has. */
  readonly call?: string | readonly string[];
  /** The topics to publish to, as `orders.v1.placed`; `*` is one segment, `>` at the end one or more. */
  readonly publish?: string | readonly string[];
  /** The topics to subscribe to, as `orders.v1.*`. */
  readonly subscribe?: string | readonly string[];
  /** The identities: a SPIFFE id, or all below one as `spiffe://example.org/web/*`. */
  readonly caller?: string | readonly string[];
  /** A role that the caller's authority gave it. */
  readonly role?: string | readonly string[];
  /** Attributes that the caller's authority gave it, each with its value. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** Whether a right for the method must be shown, issued by the authority or by this service; for calls only. @default {false} */
  readonly capability?: boolean;
  /**
   * Decides further by the checked message and the time. A pure function: the same question has the same answer.
   *
   * One that throws, or returns anything but `true`, does not allow the call.
   */
  readonly when?: (
    question: { readonly caller: Caller | undefined; readonly message: unknown; readonly now: Date },
  ) => boolean;
  /** Opens the methods to everyone, identified or not; it stands alone in its rule, and is for calls only. @default {false} */
  readonly anyone?: boolean;
}

/** Which rule decides a question, and why the others do not. */
export interface Explanation {
  /** Whether the call is allowed as far as it is known before its message. */
  readonly allowed: boolean;
  /** The number of the rule that allows it, from 0; undefined where none does. */
  readonly rule: number | undefined;
  /** Whether the rule still decides by the message. */
  readonly dependsOnMessage: boolean;
  /** A sentence for each rule that was looked at. */
  readonly reasons: readonly string[];
}

/** Who may call what; whatever no rule allows is denied. */
export interface Policy {
  /**
   * Checks the rules against what a server serves.
   *
   * @param services What is served; undefined where nothing is, as in what only publishes and subscribes.
   * @param trustDomains Whose callers there can be.
   * @throws {TypeError} Every rule that names an unknown method, can never hold, or says less than another beside it.
   */
  start(services: readonly Service[] | undefined, trustDomains: readonly string[]): void;
  /**
   * The rules that allow a call, or a message, as far as it is known before its contents.
   *
   * @param question Who asks for what.
   * @returns The rules; none where it is denied.
   */
  matching(question: Question | TopicQuestion): readonly Rule[];
  /**
   * Says which rule decides and why.
   *
   * @param question Who asks for what.
   * @returns The explanation.
   */
  explain(question: Question | TopicQuestion): Explanation;
  /**
   * All that a caller may publish and subscribe to, for a broker that has rights of its own.
   *
   * @param caller Who asks.
   * @returns The topics of every rule that is for it.
   */
  topicsOf(caller: Caller): TopicRights;
}

/**
 * Makes a rule.
 *
 * @param rule Who may call what.
 * @returns The rule.
 * @throws {TypeError} It says nothing of who may call, or contradicts itself.
 * @throws {AuthError} `malformed_id`: a caller that is no SPIFFE id.
 */
export function allow(rule: Rule): Rule {
  const { caller, role, attributes, capability, when, anyone } = rule;
  const unknown = Object.keys(rule).find((name) => !MEMBERS.has(name));
  if (unknown !== undefined) throw new TypeError(`Cannot use the rule: it has no member "${unknown}"`);
  const asks = caller !== undefined || role !== undefined || attributes !== undefined || capability === true;
  if (anyone === true ? asks : !asks) {
    throw new TypeError(
      anyone === true
        ? "Cannot use the rule: what is open to anyone cannot ask for more"
        : `Cannot use the rule: it does not say who may call; "anyone: true" would be everyone`,
    );
  }
  assertNames(rule);
  for (const [name, given] of [["caller", caller], ["role", role]] as const) {
    if (given !== undefined && list(given).length === 0) {
      throw new TypeError(`Cannot use the rule: its "${name}" is empty`);
    }
  }
  for (const id of list(caller ?? [])) id.endsWith("/*") ? parseSpiffeId(id.slice(0, -2)) : parseWorkloadId(id);
  if (attributes && Object.keys(attributes).length === 0) {
    throw new TypeError(`Cannot use the rule: its "attributes" are empty`);
  }
  if (when !== undefined && typeof when !== "function") {
    throw new TypeError(`Cannot use the rule: its "when" is no function`);
  }
  for (const [name, flag] of [["capability", capability], ["anyone", anyone]] as const) {
    if (flag !== undefined && typeof flag !== "boolean") {
      throw new TypeError(`Cannot use the rule: its "${name}" is neither true nor false`);
    }
  }
  // Lists and attributes too: who changes his later must not change what is allowed.
  const copies = Object.entries(rule).map(([name, value]) => [name, copyOf(value)]);
  return Object.freeze(Object.fromEntries(copies));
}

/** What the rule is for: something, in the one spelling that there is. */
function assertNames({ call, publish, subscribe, capability, anyone, when }: Rule): void {
  const topics = [...list(publish ?? []), ...list(subscribe ?? [])];
  const isEmpty = [call, publish, subscribe].some((names) => names !== undefined && list(names).length === 0);
  if (isEmpty || (call === undefined && topics.length === 0)) {
    throw new TypeError("Cannot use the rule: it names no method and no topic");
  }
  for (const name of list(call ?? [])) {
    if (!CALL.test(name)) throw new TypeError(`Cannot use the rule: "${name}" is not "service/method" or "service/*"`);
  }
  for (const name of topics) {
    if (!isTopicPattern(name)) {
      throw new TypeError(`Cannot use the rule: "${name}" is no topic, and no pattern of topics`);
    }
  }
  if (subscribe !== undefined && when !== undefined) {
    throw new TypeError(`Cannot use the rule: "when" decides on messages, and who subscribes has none yet`);
  }
  if (topics.length > 0 && (capability === true || anyone === true)) {
    throw new TypeError(
      "Cannot use the rule: topics are for identities, which show no right and are never just anyone",
    );
  }
}

function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return Object.freeze([...value]);
  return typeof value === "object" && value !== null ? Object.freeze({ ...value }) : value;
}

/**
 * Makes a policy: what no rule allows is denied.
 *
 * @example Two rules
 * ```ts
 * import { allow, policy } from "@postern/rpc/auth";
 *
 * const rules = policy([
 *   allow({ caller: "spiffe://example.org/web", call: "greeter.v1/*" }),
 *   allow({ role: "operator", call: ["greeter.v1/reset"] }),
 * ]);
 * ```
 *
 * @param rules The rules; any one of them allows.
 * @returns The policy.
 */
export function policy(rules: readonly Rule[]): Policy {
  const checked = rules.map(allow);
  return {
    start(services, trustDomains) {
      const problems = [
        ...checked.flatMap((rule, index) =>
          problemsOf(rule, services, trustDomains).map((what) => `rule ${index}: ${what}`)
        ),
        ...beside(checked, services ?? []),
      ];
      if (problems.length > 0) throw new TypeError(`Cannot use the policy: ${problems.join("; ")}`);
    },
    matching: (question) => checked.filter((rule) => whyNot(rule, question) === undefined),
    explain(question) {
      const reasons: string[] = [];
      for (const [index, rule] of checked.entries()) {
        const missing = whyNot(rule, question);
        reasons.push(`rule ${index} ${missing === undefined ? "allows it" : `does not: ${missing}`}`);
        if (missing === undefined) {
          return { allowed: true, rule: index, dependsOnMessage: rule.when !== undefined, reasons };
        }
      }
      return { allowed: false, rule: undefined, dependsOnMessage: false, reasons: [...reasons, "no rule allows it"] };
    },
    topicsOf(caller) {
      const own = checked.filter((rule) => whyNotCaller(rule, caller) === undefined);
      const all = (of: "publish" | "subscribe") => [...new Set(own.flatMap((rule) => list(rule[of] ?? [])))];
      return { publish: all("publish"), subscribe: all("subscribe") };
    },
  };
}

/** What of a rule does not hold; undefined where all does. */
function whyNot(rule: Rule, question: Question | TopicQuestion): string | undefined {
  if (!("call" in question)) return whyNotTopic(rule, question) ?? whyNotCaller(rule, question.caller);
  const { caller, call, capability } = question;
  if (!list(rule.call ?? []).some((pattern) => covers(pattern, call))) return "it is for other methods";
  if (rule.anyone === true) return undefined;
  if (!caller) return "the caller proves nothing";
  const missing = whyNotCaller(rule, caller);
  if (missing !== undefined) return missing;
  return rule.capability === true && !capability ? "the caller shows no right for the method" : undefined;
}

function whyNotTopic(rule: Rule, { publish, subscribe }: TopicQuestion): string | undefined {
  const [patterns, name] = publish === undefined ? [rule.subscribe, subscribe] : [rule.publish, publish];
  const covers = name !== undefined && list(patterns ?? []).some((pattern) => coversTopic(pattern, name));
  return covers ? undefined : "it is for other topics";
}

function whyNotCaller(rule: Rule, caller: Caller): string | undefined {
  if (rule.caller !== undefined && !list(rule.caller).some((pattern) => isCaller(pattern, caller.id))) {
    return "it is for other callers";
  }
  if (rule.role !== undefined && !list(rule.role).some((role) => caller.roles.includes(role))) {
    return "the caller has none of its roles";
  }
  for (const [name, value] of Object.entries(rule.attributes ?? {})) {
    const has = Object.hasOwn(caller.attributes, name) && caller.attributes[name] === value;
    if (!has) return `the caller's attribute "${name}" is another`;
  }
  return undefined;
}

/**
 * Whether a checked message satisfies one of the rules that matched.
 *
 * @param rules The rules that matched; without any, nothing is allowed.
 * @param question Who sends the message, and when.
 */
export function decidesFor(
  rules: readonly Rule[],
  question: { readonly caller: Caller | undefined; readonly message: unknown; readonly now: Date },
): boolean {
  return rules.some(({ when }) => {
    if (!when) return true;
    try {
      const decided: unknown = when(question);
      if (decided instanceof Promise) decided.catch(() => {}); // a promise decides nothing, and must not end the process
      return decided === true;
    } catch {
      return false; // what cannot decide does not allow
    }
  });
}

function covers(pattern: string, call: string): boolean {
  return pattern.endsWith("/*") ? call.startsWith(pattern.slice(0, -1)) : pattern === call;
}

/** By whole segments: `…/pay/*` is not `…/payments`. */
function isCaller(pattern: string, id: string): boolean {
  return pattern.endsWith("/*") ? id.startsWith(pattern.slice(0, -1)) : pattern === id;
}

function problemsOf(
  rule: Rule,
  services: readonly Service[] | undefined,
  trustDomains: readonly string[],
): string[] {
  const served = services && callsOf(services);
  const unknown = list(rule.call ?? []).filter((pattern) => served && !served.some((call) => covers(pattern, call)))
    .map((pattern) => `the server has no "${pattern}"`);
  const callers = list(rule.caller ?? []);
  const foreign = callers.filter((id) => !trustDomains.includes(parseSpiffeId(id.replace(/\/\*$/, "")).trustDomain))
    .map((id) => `it can never hold, nobody vouches for "${id}"`);
  // The authority of another domain gives its own what roles and attributes it likes.
  const isOpen = trustDomains.length > 1 && rule.caller === undefined &&
    (rule.role !== undefined || rule.attributes !== undefined);
  const open = isOpen ? ["with several trust domains it must also say whose callers it is for"] : [];
  return [...unknown, ...foreign, ...open];
}

/** What is open to anyone needs no rule beside it, and one that asks for more would be read as if it did something. */
function beside(rules: readonly Rule[], services: readonly Service[]): string[] {
  return callsOf(services).flatMap((call) => {
    const about = rules.flatMap((rule, index) =>
      list(rule.call ?? []).some((pattern) => covers(pattern, call)) ? [{ rule, index }] : []
    );
    const open = about.find(({ rule }) => rule.anyone === true && rule.when === undefined);
    const stricter = open && about.find(({ rule }) => rule !== open.rule);
    return stricter
      ? [`rule ${open.index} opens "${call}" to anyone, which makes rule ${stricter.index} mean nothing`]
      : [];
  });
}

const callsOf = (services: readonly Service[]) =>
  services.flatMap(({ methods }) => Object.values(methods).map(({ path }) => path.slice(1)));

const list = (value: string | readonly string[]): readonly string[] => typeof value === "string" ? [value] : value;

const CALL = /^[A-Za-z][\w.]{0,127}\/(?:\*|[A-Za-z]\w{0,63})$/;
const MEMBERS = new Set([
  "call",
  "publish",
  "subscribe",
  "caller",
  "role",
  "attributes",
  "capability",
  "when",
  "anyone",
]);
