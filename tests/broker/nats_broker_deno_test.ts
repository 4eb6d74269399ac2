// The broker against a real nats-server, by WebSocket, with TLS, keys, and no more rights than the policy gives.
import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { allow, policy } from "../../src/auth/mod.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { natsBroker, type NatsBrokerOptions } from "../../src/broker/nats/nats_broker.ts";
import {
  type NatsPermissions,
  natsPermissions,
  type NatsPermissionsOptions,
} from "../../src/broker/nats/nats_permissions.ts";
import { groupName } from "../../src/broker/nats/nats_names.ts";
import { mustCome } from "../_patience.ts";
import { findNats, launchNats, type NatsServer } from "../servers/nats.ts";
import { brokerConformance } from "./_conformance.ts";
import { isSettled, publish, reader, refused } from "./_conformance_rig.ts";

const { path = "", skip } = await findNats();
const PREFIX = "test";
const STREAM = "EVENTS";
const ALL = "spiffe://example.org/all";
const STRICT = "spiffe://example.org/strict";
const rules = policy([
  allow({ caller: ALL, publish: ">", subscribe: ">" }),
  allow({ caller: STRICT, publish: "a.b", subscribe: "a.>" }),
]);
const rights = (id: string, options: NatsPermissionsOptions) =>
  natsPermissions(rules, { id, roles: [], attributes: {} }, { subjectPrefix: PREFIX, ...options });
const USERS = {
  all: rights(ALL, {}),
  strict: rights(STRICT, {}),
  keepsAll: withGroups(rights(ALL, { jetstream: { stream: STREAM } })),
  keeps: rights(STRICT, { jetstream: { stream: STREAM, groups: [{ group: "g", pattern: "a.>" }] } }),
  nobody: rights("spiffe://example.org/nobody", {}),
  star: {
    publish: { allow: [`$JS.API.CONSUMER.CREATE.${STREAM}.*.${PREFIX}.a.*`] },
    subscribe: { allow: ["_INBOX_star.>"] },
  },
  alone: rights(STRICT, { jetstream: { stream: STREAM } }),
};

/** A server and its connections, for all tests of conformance; each begins with an empty stream, and makes brokers of its own. */
const shared: { server?: NatsServer; readonly connections: Map<string, NatsConnection> } = { connections: new Map() };
for (const kind of ["core", "JetStream"] as const) {
  brokerConformance(`natsBroker() on ${kind}`, async () => {
    const brokers = new AsyncDisposableStack();
    const open = async (name: string) => {
      const connection = await sharedConnection(kind === "core" ? "all" : "keepsAll", name);
      const options = kind === "core" ? {} : { jetstream: await streamOf(connection) };
      return brokers.use(await connect(connection, options));
    };
    if (kind === "JetStream") await makeStream(await sharedConnection("admin", "one"), { storage: "memory" });
    return {
      broker: await open("one"),
      another: () => open("another"),
      [Symbol.asyncDispose]: () => brokers.disposeAsync(),
    };
  }, { skip });
}

test("natsBroker() refuses a server that lets in everybody, and one without TLS", { skip }, async () => {
  for (const options of [{ auth: false }, { tls: false }]) {
    await using server = await launchNats(path, options);
    const connection = await server.connect("client");
    await refused(connect(connection, {}), "insecure");
    await refused(connect(connection, { jetstream: await streamOf(connection) }), "insecure");
  }
});

test("natsBroker() tells what the server does not allow, and what it allows goes on", { skip }, async () => {
  const server = await sharedServer();
  await makeStream(await sharedConnection("admin", "one"));
  const strict = await server.connectEvents("strict");
  const keeps = await server.connectEvents("keeps");
  await using core = await connect(strict, {});
  await using kept = await connect(keeps, { jetstream: await streamOf(keeps) });
  await using all = await connect(await server.connectEvents("all"), {});
  await using everything = await reader(all, ">");
  for (const [kind, broker] of Object.entries({ core, kept })) {
    const events = ["a.c", "b", "a.b", "postern.join.a.c"].map((topic) => ({
      topic,
      id: `${kind}/${topic}`,
      event: kind,
    }));
    const outcomes = await Promise.allSettled(events.map((event) => broker.publish(event)));
    const reasons = outcomes.map((outcome) => outcome.status === "rejected" ? outcome.reason.reason : outcome.status);
    // Who may subscribe to a.> may ask for the keys of all in it.
    assert.deepEqual(reasons, ["refused", "refused", "fulfilled", "fulfilled"]);
    assert.deepEqual(await everything.take(2), [kind, kind]);
    await refused(broker.publish({ topic: "b", id: "again", event: "1" }), "refused");
    await refused(broker.subscribe("b"), "refused");
    await refused(broker.subscribe(">"), "refused");
    await refused(broker.subscribe("b", { group: "g" }), "refused");
  }
  await refused(kept.subscribe("a.>", { group: "h" }), "refused"); // only "g" was named
  await refused(kept.subscribe("a.>"), "refused"); // and nothing without a group
  await using group = await reader(kept, "a.>", { group: "g", start: "earliest" });
  await using alone = await reader(core, "a.>");
  await publish(core, "a.b", "last");
  assert.deepEqual(await alone.take(1), ["last"]);
  assert.deepEqual(await group.take(3), ["core", "kept", "last"]);
});

test("natsPermissions() lets nobody read more than the policy allows", { skip }, async () => {
  const server = await sharedServer();
  await makeStream(await sharedConnection("admin", "one"));
  await using other = await connectAs(server, "keepsAll");
  await using _group = await reader(other, "b", { group: "other" });
  await publish(other, "b", "secret");
  const connection = await server.connectEvents("alone");
  const { manager } = await streamOf(connection);
  const name = groupName("other", `${PREFIX}.b`);
  const api = "$JS.API.CONSUMER";
  const ask = (subject: string, body: object) => connection.request(subject, JSON.stringify(body), { timeout: 2_000 });
  const filters = { filter_subject: `${PREFIX}.>`, ack_policy: "none", name: "x", deliver_subject: "_INBOX_x.y" };
  // A server compares the subject with what is in the message.
  const answer = await ask(`${api}.CREATE.${STREAM}.x.${PREFIX}.a.>`, { stream_name: STREAM, config: filters });
  assert.match(answer.string(), /"err_code":10131/);
  for (
    const subject of [
      `${api}.CREATE.${STREAM}.x.${PREFIX}.>`,
      `${api}.CREATE.${STREAM}.x.${PREFIX}.b`,
      `${api}.CREATE.${STREAM}`,
      `${api}.DURABLE.CREATE.${STREAM}.x`,
      `${api}.MSG.NEXT.${STREAM}.${name}`,
      `${api}.INFO.${STREAM}.${name}`,
      `${api}.DELETE.${STREAM}.${name}`,
      `$JS.API.STREAM.MSG.GET.${STREAM}`,
      `$JS.API.STREAM.PURGE.${STREAM}`,
    ]
  ) {
    await assert.rejects(ask(subject, { stream_name: STREAM, config: filters }), /Permissions Violation/, subject);
  }
  await assert.rejects(manager.streams.info("OTHER"), /Permissions Violation/);
});

test("a server takes a wildcard for a token, which is why no right to consume ends in one", { skip }, async () => {
  const server = await sharedServer();
  await makeStream(await sharedConnection("admin", "one"));
  const { manager } = await streamOf(await server.connectEvents("star"));
  const filter_subject = `${PREFIX}.a.>`;
  const { config } = await manager.consumers.add(STREAM, { name: "x", filter_subject, ack_policy: "none" });
  assert.equal(config.filter_subject, filter_subject);
});

test("natsPermissions() gives who has no rule no right", { skip }, async () => {
  const server = await sharedServer();
  const connection = await server.connectEvents("nobody");
  await using broker = await connect(connection, {});
  await refused(broker.publish({ topic: "a.b", id: "1", event: "1" }), "refused");
  await refused(broker.subscribe("a.b"), "refused");
  await assert.rejects(connection.request("$JS.API.INFO", "", { timeout: 2_000 }), /Permissions Violation/);
});

test("natsBroker() goes on after the server was gone, and loses nothing that was acknowledged", { skip }, async () => {
  await using server = await launchNats(path, { events: USERS });
  await makeStream(await server.connectEvents("admin"));
  await using writer = await connectAs(server, "keepsAll");
  await using member = await connectAs(server, "keepsAll");
  assert.equal(writer.properties.durable, true);
  await using group = await reader(member, "a.b", { group: "g" });
  await using alone = await reader(member, "a.b");
  await publish(writer, "a.b", "1", "2", "3");
  const out = [await group.next(), await alone.next()];
  assert.deepEqual([await group.take(1), await alone.take(1)], [["2"], ["2"]]);
  await server.stop();
  const publishing = publish(writer, "a.b", "4", "5");
  await server.start();
  await mustCome(publishing, "the publishing");
  assert.deepEqual(await alone.take(3), ["3", "4", "5"]);
  const seen = new Set<string>();
  while (!["3", "4", "5"].every((event) => seen.has(event))) for (const event of await group.take(1)) seen.add(event);
  for (const { ack } of out) ack();
  await publish(writer, "a.b", "6");
  assert.deepEqual(await alone.take(1), ["6"]); // "1" was out all the time, and did not come again
});

test("publish() says that the stream is full, and that nothing is reached", { skip }, async () => {
  await using server = await launchNats(path, { events: USERS });
  await makeStream(await server.connectEvents("admin"), { max_msgs: 2, discard: "new" });
  const connection = await server.connectEvents("keepsAll");
  await using broker = await connect(connection, { jetstream: await streamOf(connection), publishTimeoutMs: 400 });
  await using _blocking = await broker.subscribe("a.b", { slow: "block" });
  await refused(broker.subscribe("a.b", { slow: "drop_oldest" }), "unsupported");
  await publish(broker, "a.b", "1", "2");
  await refused(publish(broker, "a.b", "3"), "full");
  await using patient = await connect(connection, { jetstream: await streamOf(connection), publishTimeoutMs: 600_000 });
  await refused(patient.publish({ topic: "a.b", id: "6", event: "6" }, { waits: false }), "full");
  const waiting = new AbortController();
  const stopped = broker.publish({ topic: "a.b", id: "4", event: "4" }, { signal: waiting.signal });
  waiting.abort(new Error("enough"));
  await assert.rejects(stopped, /enough/);
  await server.stop();
  await refused(publish(broker, "a.b", "5"), "unreachable");
});

test("natsBroker() refuses a stream that forgets what it has to know", { skip }, async () => {
  const server = await sharedServer();
  const admin = await sharedConnection("admin", "one");
  for (const config of [{ retention: "interest" }, { duplicate_window: 60_000_000_000 }, { no_ack: true }]) {
    await makeStream(admin, config);
    await refused(connectAs(server, "keepsAll"), "unsupported");
  }
  await makeStream(admin, { storage: "memory", subjects: [`${PREFIX}.a.>`] });
  await using broker = await connectAs(server, "keepsAll");
  assert.equal(broker.properties.durable, false);
  await refused(broker.publish({ topic: "b", id: "1", event: "1" }), "unsupported");
  await refused(broker.subscribe("b"), "unsupported");
});

test("a subscription ends with `closed` when its group's consumer is deleted", { skip }, async () => {
  const server = await sharedServer();
  const admin = await sharedConnection("admin", "one");
  await makeStream(admin);
  await using broker = await connectAs(server, "keepsAll");
  await using group = await reader(broker, "a.b", { group: "g" });
  const waiting = refused(group.ask(), "closed");
  const { consumers } = await jetstreamManager(admin, { checkAPI: false });
  await consumers.delete(STREAM, groupName("g", `${PREFIX}.a.b`));
  await waiting;
});

test("a member that is disposed while it drains gives back what is out", { skip }, async () => {
  const server = await sharedServer();
  await makeStream(await sharedConnection("admin", "one"));
  await using broker = await connectAs(server, "keepsAll");
  const first = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  await first.next();
  const drained = first.drain();
  assert.equal(await isSettled(drained), false);
  // Joining is a round trip, and more than what a member does before it waits for what is out.
  await using second = await reader(broker, "a.b", { group: "g" });
  await first[Symbol.asyncDispose]();
  await drained;
  const again = await second.next();
  assert.deepEqual([again.event, again.attempt], ["1", 2]);
  again.ack();
});

test("natsBroker() leaves connections open", { skip }, async () => {
  for (const connection of shared.connections.values()) assert.equal(connection.isClosed(), false);
  await shared.server?.[Symbol.asyncDispose]();
});

async function sharedServer(): Promise<NatsServer> {
  return shared.server ??= await launchNats(path, { events: USERS });
}

async function sharedConnection(user: string, name: string): Promise<NatsConnection> {
  const key = `${user} ${name}`;
  const connection = shared.connections.get(key) ?? await (await sharedServer()).connectEvents(user);
  shared.connections.set(key, connection);
  return connection;
}

async function makeStream(admin: NatsConnection, config: object = {}): Promise<void> {
  const { streams } = await jetstreamManager(admin, { checkAPI: false });
  await streams.delete(STREAM).catch(() => {});
  await streams.add({ name: STREAM, subjects: [`${PREFIX}.>`], ...config });
}

async function streamOf(connection: NatsConnection) {
  return {
    client: jetstream(connection),
    manager: await jetstreamManager(connection, { checkAPI: false }),
    stream: STREAM,
  };
}

async function connectAs(server: NatsServer, user: string): Promise<Broker> {
  const connection = await server.connectEvents(user);
  return await connect(connection, { jetstream: await streamOf(connection) });
}

const connect = (connection: NatsConnection, options: NatsBrokerOptions) =>
  natsBroker(connection, { subjectPrefix: PREFIX, ...options });

/** Any group with any pattern, which rights of a policy name one by one. */
function withGroups({ publish: { allow }, subscribe }: NatsPermissions): NatsPermissions {
  const any = ["CREATE", "INFO", "MSG.NEXT"].map((what) => `$JS.API.CONSUMER.${what}.${STREAM}.>`);
  return { publish: { allow: [...allow, ...any] }, subscribe };
}
