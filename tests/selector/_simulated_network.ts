// The network of a simulation: delays, cuts, ends of connections, and the one place that sees what really happened.
import type { Identity } from "../../src/auth/mod.ts";
import { readRecord, type Registry, RegistryError, type RegistryReadOptions } from "../../src/registry/mod.ts";
import { type Call, NotSentError, type Reply, RpcError, type Transport } from "../../src/rpc/mod.ts";
import type { Simulation } from "./_virtual_time.ts";

/** A machine with a clock of its own, which can be cut off from the registry. */
export interface Machine {
  readonly name: string;
  /** What its clock shows, in milliseconds since 1970. */
  readonly now: () => number;
  readonly identity: Identity;
  /** How the registry is cut off from it: calls fail at once, or their answers never come. */
  cut: "refused" | "silent" | undefined;
}

/** What listens at an endpoint. */
export interface Listener {
  /** Whether it serves, has ended after it was drained, or has died: with its connections refused, or without a word. */
  state: "serving" | "ended" | "refusing" | "silent";
  /** When the newest record that it published ends, in milliseconds since 1970; undefined before the first. */
  publishedUntilMs: number | undefined;
  /** How many calls it is answering. */
  inFlight: number;
}

/** What the network saw. */
export interface Sightings {
  /** What must never happen. */
  readonly violations: string[];
  /** How many calls arrived where one was answered. */
  answered: number;
  /** How often a call that must be made once only was made, by its number. */
  readonly made: Map<number, number>;
  /** The numbers of the calls that met a listener that had died. */
  readonly metDead: Set<number>;
}

/** A simulated network. */
export interface Network {
  readonly listeners: Map<string, Listener>;
  readonly sightings: Sightings;
  /** Notes what is registered in a store. */
  witness(store: Registry): Registry;
  /** The way of a machine to the registry. */
  link(machine: Machine, registry: Registry): Registry;
  /** The way of a client to an endpoint; what it carries is checked against the truth. */
  connect(client: Machine, endpoint: string): Transport;
}

export function simulatedNetwork(simulation: Simulation, workMs: number): Network {
  const listeners = new Map<string, Listener>();
  const sightings: Sightings = { violations: [], answered: 0, made: new Map(), metDead: new Set() };
  return {
    listeners,
    sightings,
    witness: (store) => ({
      ...store,
      async register(record) {
        const lease = await store.register(record);
        const { endpoints, exp } = readRecord(record).claims;
        const listener = listeners.get(endpoints[0]!);
        if (listener) listener.publishedUntilMs = exp * 1_000;
        return lease;
      },
    }),
    link: (machine, registry) => link(simulation, machine, registry),
    connect: (client, endpoint) => (call) =>
      travel({ simulation, listeners, sightings, workMs }, client, endpoint, call),
  };
}

interface Ground {
  readonly simulation: Simulation;
  readonly listeners: Map<string, Listener>;
  readonly sightings: Sightings;
  readonly workMs: number;
}

const unreachable = () => new RegistryError("unreachable", "Cannot use the registry: it is cut off");

function link(simulation: Simulation, machine: Machine, registry: Registry): Registry {
  const delay = () => simulation.sleep(simulation.chance.between(1, 20));
  const reach = async <Value>(run: () => Promise<Value>): Promise<Value> => {
    await delay();
    if (machine.cut === "silent") await simulation.sleep(10_000); // as long as `remoteRegistry` waits for an answer
    if (machine.cut) throw unreachable();
    const value = await run();
    await delay();
    return value;
  };
  return {
    properties: registry.properties,
    async register(record) {
      const lease = await reach(() => registry.register(record));
      return { [Symbol.asyncDispose]: () => reach(async () => await lease[Symbol.asyncDispose]()) };
    },
    resolve: (service, options) => reach(() => registry.resolve(service, options)),
    list: (options) => reach(() => registry.list(options)),
    async *watch(service: string, options: RegistryReadOptions = {}) {
      for await (const records of registry.watch(service, options)) {
        await delay();
        if (machine.cut) throw unreachable();
        yield records;
      }
    },
  };
}

/** Takes one call to an endpoint, and notes whether it may go there at all. */
async function travel(
  { simulation: { chance, sleep, now }, listeners, sightings, workMs }: Ground,
  client: Machine,
  endpoint: string,
  call: Call,
): Promise<Reply> {
  const number = (call.message as { readonly number: number }).number;
  const listener = listeners.get(endpoint);
  const accuse = (what: string) =>
    void sightings.violations.push(`${client.name} at ${now() % 1e9}: call ${number} to ${endpoint}, ${what}`);
  if (listener?.publishedUntilMs === undefined) accuse("which never had a record that holds");
  else if (listener.publishedUntilMs <= client.now()) accuse("whose last record has expired");
  const endsAtMs = now() + call.timeoutMs;
  await sleep(chance.between(1, 20));
  if (!listener) throw new NotSentError("Nobody listens there", { received: true });
  if (isDead(listener)) {
    sightings.metDead.add(number);
    if (listener.state === "refusing") throw new NotSentError("The connection was refused", { received: true });
    await sleep(Math.max(1, endsAtMs - now()));
    throw new RpcError("deadline_exceeded", "The call took longer than its deadline", { received: true });
  }
  // It has ended after it told everybody: what comes now is lost, since not all runtimes tell a refused connection.
  if (listener.state === "ended") throw new RpcError("unavailable", "The server is about to end", { received: true });
  if (!call.method.options.safe) sightings.made.set(number, (sightings.made.get(number) ?? 0) + 1);
  listener.inFlight++;
  await sleep(chance.between(2, workMs));
  listener.inFlight--;
  if (isDead(listener)) {
    sightings.metDead.add(number);
    throw new RpcError("unavailable", "The connection was lost", { received: true });
  }
  await sleep(chance.between(1, 20));
  if (call.signal?.aborted) throw new RpcError("canceled", "The call was canceled", { received: true });
  sightings.answered++;
  return { message: { at: endpoint } };
}

const isDead = ({ state }: Listener) => state === "refusing" || state === "silent";
