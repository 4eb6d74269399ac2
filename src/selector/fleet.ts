import type { Instance } from "../registry/mod.ts";
import type { Call, Transport } from "../rpc/mod.ts";
import { type Health, healthOf, type Outcome, tooSlow } from "./health.ts";
import type { Candidate, Pick, Pool, Selector } from "./selector.ts";

/** An instance as this client knows it. */
export interface Member extends Candidate {
  instance: Instance;
  inFlight: number;
  readonly health: Health;
  /** Where it was reached when the transport was made. */
  readonly reachedAt: string;
  readonly transport: Transport;
}

/** The instances of one service, and how they are doing. */
export interface Fleet {
  /** Takes over the instances as they are now. */
  update(instances: readonly Instance[]): void;
  /** How many instances there are that can be called. */
  readonly size: number;
  /** An instance that was kept out and may be tried again, if it is time. */
  probe(isRepeatable: boolean): Member | undefined;
  /**
   * Chooses an instance.
   *
   * @param call The call.
   * @param tried Those that it has been to; one of them is chosen only where there is no other.
   * @throws {TypeError} The selector chose one that it was not given.
   */
  choose(call: Call, tried: ReadonlySet<Member>): Member;
  /** Takes in how an attempt ended. */
  observe(member: Member, outcome: Outcome): void;
}

/** What a fleet needs to know. */
export interface FleetOptions {
  readonly selector: Selector;
  /** Whether an instance may be called at all. */
  readonly accepts: (instance: Instance) => boolean;
  readonly connect: (instance: Instance) => Transport;
  /** Below which share of instances that are well all of them are called again. */
  readonly panicShare: number;
  /** The clock, in milliseconds. */
  readonly now: () => number;
}

/** A fleet without instances. */
export function createFleet(options: FleetOptions): Fleet {
  const { now } = options;
  let source: readonly Instance[] | undefined;
  let members: readonly Member[] = [];
  let pool: Pool | undefined;
  let prepared: Prepared | undefined;
  let nextProbeAtMs = Infinity;
  let comparedAtMs = now();
  let probes = MAX_PROBES;
  let probed: string | undefined;
  const changed = () => {
    pool = prepared = undefined;
    nextProbeAtMs = members.reduce((first, { health }) => Math.min(first, health.probeAtMs ?? Infinity), Infinity);
  };
  return {
    get size() {
      return members.length;
    },
    update(instances) {
      if (instances === source) return;
      members = reconcile(members, callable(instances, options), options);
      source = instances; // not before: a filter that throws would leave those of before in use
      changed();
    },
    probe(isRepeatable) {
      probes = Math.min(MAX_PROBES, probes + PROBE_SHARE);
      if (probes < 1 || now() < nextProbeAtMs) return undefined;
      // The identities take turns: many of one that stay dead must not keep others from coming back.
      const groups = byIdentity(members);
      const turn = groups.findIndex(([first]) => first!.instance.identity === probed) + 1;
      const inTurn = [...groups.slice(turn), ...groups.slice(0, turn)].flat();
      const found = inTurn.find(({ health }) => health.probe(isRepeatable));
      if (!found) return undefined;
      probes--;
      probed = found.instance.identity;
      return found;
    },
    choose(call, tried) {
      pool ??= poolOf(members, options.panicShare);
      if (tried.size === 0) return chosenOf(prepared ??= prepare(pool, options.selector), call);
      return chosenOf(prepare(withoutTried(pool, members, tried), options.selector), call);
    },
    observe(member, outcome) {
      let isChanged = member.health.observe(outcome);
      const nowMs = now();
      if (nowMs - comparedAtMs >= COMPARE_MS) {
        comparedAtMs = nowMs;
        for (const { health } of slowOnes(members)) {
          health.eject();
          isChanged = true;
        }
      }
      if (isChanged || member.health.isEjected) changed();
    },
  };
}

/** Those that may be called; ones that are about to end only where there are no others. */
function callable(instances: readonly Instance[], { accepts }: FleetOptions): readonly Instance[] {
  const accepted = instances.filter((instance) => endpointOf(instance) !== undefined && accepts(instance));
  const staying = accepted.filter(({ draining }) => !draining);
  return staying.length > 0 ? staying : accepted;
}

/** Where calls go: over a WebSocket only to an instance that takes them no other way. */
export function endpointOf({ endpoints }: Instance): string | undefined {
  return endpoints.find((endpoint) => endpoint.startsWith("https:")) ??
    endpoints.find((endpoint) => endpoint.startsWith("wss:"));
}

/** Keeps what is known of those that are still there. */
function reconcile(before: readonly Member[], instances: readonly Instance[], options: FleetOptions): Member[] {
  const known = new Map(before.map((member) => [member.instance.name, member]));
  return instances.map((instance) => {
    const reachedAt = `${endpointOf(instance)} ${instance.audience}`;
    const member = known.get(instance.name);
    if (member?.reachedAt !== reachedAt) {
      const health = member?.health ?? healthOf(options.now); // who moves takes along what is known of it
      return { instance, inFlight: 0, health, reachedAt, transport: options.connect(instance) };
    }
    member.instance = instance;
    return member;
  });
}

/** Those that are well; all, where too few are: what fails everywhere is seldom the fault of each. */
function poolOf(members: readonly Member[], panicShare: number): Pool {
  const candidates = members.filter(({ health }) => !health.isEjected);
  // An identity counts once here too: many instances of one that fail must not bring themselves back.
  const groups = byIdentity(members);
  const well = groups.map((group) => group.filter(({ health }) => !health.isEjected).length / group.length);
  if (candidates.length === 0 || well.reduce((sum, share) => sum + share) < groups.length * panicShare) {
    return { candidates: Object.freeze([...members]), ejected: [] };
  }
  return { candidates: Object.freeze(candidates), ejected: members.filter(({ health }) => health.isEjected) };
}

/**
 * Who is slower than others of its own identity; and of identities with one instance, who is slower than those of others:
 * an identity that always answers at once must not make all others look slow by having many instances.
 */
function slowOnes(members: readonly Member[]): readonly Member[] {
  const groups = byIdentity(members);
  const single = groups.filter(({ length }) => length === 1).flat();
  return [...groups.flatMap(tooSlow), ...tooSlow(single)];
}

function byIdentity(members: readonly Member[]): readonly (readonly Member[])[] {
  const groups = new Map<string, Member[]>();
  for (const member of members) {
    const group = groups.get(member.instance.identity);
    if (group) group.push(member);
    else groups.set(member.instance.identity, [member]);
  }
  return [...groups.values()];
}

function withoutTried(pool: Pool, members: readonly Member[], tried: ReadonlySet<Member>): Pool {
  const untried = (list: readonly Candidate[]) => list.filter((each) => !tried.has(each as Member));
  const candidates = untried(pool.candidates);
  if (candidates.length > 0) return { candidates, ejected: pool.ejected };
  const ejected = untried(pool.ejected);
  return { candidates: ejected.length > 0 ? ejected : members, ejected: [] };
}

/** A pool, ready to be chosen from. */
interface Prepared {
  readonly offered: ReadonlySet<Candidate>;
  readonly pick: Pick;
}

function prepare(pool: Pool, selector: Selector): Prepared {
  return { offered: new Set(pool.candidates), pick: selector(pool) };
}

/** A selector chooses among verified instances, and cannot bring in another. */
function chosenOf({ offered, pick }: Prepared, call: Call): Member {
  const chosen = pick(call);
  if (offered.has(chosen)) return chosen as Member;
  throw new TypeError("Cannot make the call: the selector chose an instance that it was not given");
}

/** How many of the calls may try an instance again that failed: many that fail must not draw calls by that. */
const PROBE_SHARE = 0.05;
/** How many may do so at once after a while without any. */
const MAX_PROBES = 3;
/** How often the instances are compared with each other, in milliseconds. */
const COMPARE_MS = 1_000;
