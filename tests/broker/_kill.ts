// Programs that are killed and started again while messages go through them, and the count of what became of each message.
import assert from "node:assert/strict";
import { createAuthority, importKey, secret } from "../../src/auth/mod.ts";
import type { PubSub } from "../../src/broker/mod.ts";
import { mustCome } from "../_patience.ts";
import { Counted, DOMAIN, HUB, type Member, PACKING, SHOP } from "./programs/kill_app.ts";

/** How much there is to do: little by default; with `SOAK=1` what the claim of the project says. */
export const LOAD = Deno.env.get("SOAK") === "1"
  ? {
    messages: Number(Deno.env.get("SOAK_MESSAGES") ?? 100_000),
    kills: Number(Deno.env.get("SOAK_KILLS") ?? 20),
    isLong: true,
  }
  : { messages: 2_000, kills: 2, isLong: false };

/** How many messages each publisher has on their way at once. */
const OUTSTANDING = 256;
const MAX_STARTS = 10;
const PROGRAMS = new URL("./programs/", import.meta.url);

/** The hub, the publisher and the group of one domain, for processes of their own. */
export async function members(): Promise<{ readonly hub: Member; readonly shop: Member; readonly packing: Member }> {
  const authority = await createAuthority(DOMAIN);
  const join = async (id: string, serves: readonly string[] = []): Promise<Member> => {
    const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
    const key = JSON.stringify(await crypto.subtle.exportKey("jwk", pair.privateKey));
    const { jwk } = await importKey(secret(key));
    return { bundle: authority.bundle(), key, token: await authority.issue(jwk, { id, serves }) };
  };
  return { hub: await join(HUB, ["postern.broker.v1"]), shop: await join(SHOP), packing: await join(PACKING) };
}

/** What became of the messages. */
export interface Tally {
  /** How many were acknowledged to who published them. */
  readonly acked: number;
  /** How many of them nobody has got yet. */
  readonly owed: number;
  /** How many different ones were delivered. */
  readonly delivered: number;
  /** How often one was delivered that had been delivered before. */
  readonly again: number;
  ack(n: number): void;
  deliver(n: number): void;
  /** Waits until something is so; fails when nothing happens any more. */
  until(isSo: () => boolean, what: string): Promise<void>;
}

export function tally(messages: number): Tally {
  const [acks, deliveries] = [new Uint8Array(messages), new Uint8Array(messages)];
  const count = { acked: 0, owed: 0, delivered: 0, again: 0 };
  let change = Promise.withResolvers<void>();
  const changed = () => {
    change.resolve();
    change = Promise.withResolvers();
  };
  return {
    get acked() {
      return count.acked;
    },
    get owed() {
      return count.owed;
    },
    get delivered() {
      return count.delivered;
    },
    get again() {
      return count.again;
    },
    ack(n) {
      assert.equal(acks[n]!++, 0);
      count.acked++;
      if (deliveries[n] === 0) count.owed++;
      changed();
    },
    deliver(n) {
      assert.ok(n < messages);
      if (deliveries[n] === 0) {
        deliveries[n] = 1;
        count.delivered++;
        if (acks[n]) count.owed--;
      } else count.again++;
      changed();
    },
    async until(isSo, what) {
      while (!isSo()) await mustCome(change.promise, `${what}, after ${JSON.stringify(count)}`);
    },
  };
}

/** Somebody who is killed, and comes back. */
export interface Victim {
  /** Kills it; settles when it is dead. */
  kill(): Promise<void>;
  /** Starts it again; settles when it is ready. */
  start(): Promise<void>;
}

/** A program that is killed, and comes back. */
export interface Killable extends Victim, AsyncDisposable {
  /** Asks it to end, which it must do by itself and in good order. */
  end(): Promise<void>;
  /** The process, as the system names it. */
  readonly pid: number;
  /** How much memory the process has, in MiB; undefined where the system does not say. */
  memory(): number | undefined;
}

/**
 * Starts a program; disposing kills it.
 *
 * @param name Its file's name.
 * @param setup Its first argument.
 * @param heard Gets each line that it prints, but for "ready".
 */
export async function killable(
  name: string,
  setup: object,
  heard: (line: string) => void = () => {},
): Promise<Killable> {
  let child = spawn(name, setup, heard);
  let isDisposed = false;
  const self: Killable = {
    async kill() {
      child.process.kill("SIGKILL");
      const { signal } = await child.ended;
      await child.process.stdin.close().catch(() => {});
      assert.equal(signal, "SIGKILL", `${name} had ended by itself`);
    },
    async start() {
      // As whatever looks after programs does: one that ended, because the server went while it began, is started again.
      for (let tries = 1; tries <= MAX_STARTS && !isDisposed; tries++) {
        child = spawn(name, setup, heard);
        if (await mustCome(child.ready.then(() => true, () => false), `${name} is ready`)) return;
      }
      throw new Error(`Cannot start ${name} again`);
    },
    async end() {
      await child.process.stdin.close();
      const { code, signal } = await mustCome(child.ended, `the end of ${name}`);
      assert.deepEqual([code, signal], [0, null]);
    },
    memory: () => memoryOf(child.process.pid),
    get pid() {
      return child.process.pid;
    },
    async [Symbol.asyncDispose]() {
      isDisposed = true;
      try {
        child.process.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.ended;
      await child.process.stdin.close().catch(() => {});
    },
  };
  try {
    await mustCome(child.ready, `${name} is ready`);
    return self;
  } catch (error) {
    await self[Symbol.asyncDispose]();
    throw error;
  }
}

function spawn(name: string, setup: object, heard: (line: string) => void) {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-all", new URL(name, PROGRAMS).href, JSON.stringify(setup)],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  const read = async () => {
    let rest = "";
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line === "ready") ready.resolve();
        else heard(line);
      }
    }
  };
  const ended = Promise.all([process.status, read()]).then(([status]) => {
    ready.reject(new Error(`${name} ended before it was ready`));
    return status;
  });
  return { process, ready: ready.promise, ended };
}

function memoryOf(pid: number): number | undefined {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)![1]) / 1_024);
  } catch {
    return undefined;
  }
}

/** What is in the storm. */
export interface Storm {
  readonly count: Tally;
  readonly publishers: readonly PubSub[];
  /** What stops the server, one after the other; it is started again each time. */
  readonly stops: readonly (() => Promise<void>)[];
  readonly server: Victim;
  readonly consumers: readonly Victim[];
  /** Watches while messages go, 20 times. */
  readonly watch?: (() => void) | undefined;
}

/** Publishes all messages, stops everybody several times in the midst of it, and waits until what was acknowledged came. */
export async function storm({ count, publishers, stops, server, consumers, watch }: Storm): Promise<void> {
  const { messages, kills } = LOAD;
  const beganAt = performance.now();
  let [sent, leastOnTheWay] = [0, Infinity];
  const errors: unknown[] = [];
  const publish = async (bus: PubSub) => {
    while (sent < messages) {
      const n = sent++;
      await bus.publish(Counted, { n }, { id: `n-${n}` }).then(() => count.ack(n), (error) => errors.push(error));
    }
  };
  const publishing = publishers.flatMap((bus) => Array.from({ length: OUTSTANDING }, () => publish(bus)));
  const part = (number: number, of: number) => Math.floor(messages * number / of);
  const stopServer = async () => {
    for (const [time, stop] of stops.entries()) {
      await count.until(() => count.acked >= part(time + 1, stops.length + 1), "the next stop of the server");
      leastOnTheWay = Math.min(leastOnTheWay, sent - count.acked);
      await stop();
      await server.start();
    }
  };
  const killConsumers = async () => {
    for (let time = 1; time <= kills; time++) {
      await count.until(() => count.delivered >= part(2 * time - 1, 2 * kills + 1), "the next kill of a consumer");
      // The last time nobody is left.
      const victims = time === kills ? consumers : [consumers[time % consumers.length]!];
      await Promise.all(victims.map((victim) => victim.kill()));
      await Promise.all(victims.map((victim) => victim.start()));
    }
  };
  const look = async () => {
    for (let time = 1; watch && time <= 20; time++) {
      await count.until(() => count.acked >= part(time, 20), "the next look");
      watch();
    }
  };
  await Promise.all([...publishing, stopServer(), killConsumers(), look()]);
  await count.until(() => count.owed === 0, "all that was acknowledged");
  assert.deepEqual(errors, []);
  assert.equal(count.acked, messages);
  assert.ok(leastOnTheWay > 0, "the server was stopped when nothing was on its way");
  const seconds = ((performance.now() - beganAt) / 1_000).toFixed(1);
  const { acked, delivered, again } = count;
  const stopped = { server: stops.length, consumers: kills - 1 + consumers.length };
  if (LOAD.isLong) console.log({ acked, delivered, again, stopped, leastOnTheWay, seconds });
}

/** As often as there are kills. */
export const repeated = <Item>(count: number, item: (time: number) => Item): Item[] =>
  Array.from({ length: count }, (_, index) => item(index + 1));
