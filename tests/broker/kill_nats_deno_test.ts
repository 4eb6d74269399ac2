// nats-server with JetStream and its consumers are killed in the midst of it: what was acknowledged to its publisher is
// delivered. With `SOAK=1`, of 100,000 messages; SOAK_MESSAGES and SOAK_KILLS change that.
import { test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { nkeys } from "@nats-io/nats-core";
import {
  createPubSub,
  natsInboxPrefix,
  type NatsPermissions,
  natsPermissions,
  natsUsers,
} from "../../src/broker/mod.ts";
import { type ServerFolder, serverFolder, startServer, withPorts } from "../servers/_process.ts";
import { findNats } from "../servers/nats.ts";
import { killable, LOAD, members, repeated, storm, type Tally, tally, type Victim } from "./_kill.ts";
import { Counted, GROUP, memberOf, PACKING, SHOP, TOPICS } from "./programs/kill_app.ts";
import type { NatsConsumerSetup } from "./programs/kill_nats_consumer.ts";
import { connectNats, type NatsReach, PREFIX, reachNats, STREAM } from "./programs/kill_nats_reach.ts";

const { path = "", skip } = await findNats();

const rights = (id: string) =>
  natsPermissions(TOPICS, { id, roles: [], attributes: {} }, {
    subjectPrefix: PREFIX,
    jetstream: { stream: STREAM, groups: id === PACKING ? [{ group: GROUP, pattern: Counted.name }] : [] },
  });
const ADMIN: NatsPermissions = { publish: { allow: ["$JS.API.>"] }, subscribe: { allow: ["_INBOX_admin.>"] } };

/** A user with a key of its own. */
function user(permissions: NatsPermissions, inboxPrefix: string) {
  const pair = nkeys.createUser();
  const seed = new TextDecoder().decode(pair.getSeed());
  return { seed, inboxPrefix, entry: { nkey: pair.getPublicKey(), permissions } };
}

/** A server that keeps its store, its users and its ports. */
async function launch(users: readonly ReturnType<typeof user>[]) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("kill-nats"));
  const client = stack.adopt(Deno.createHttpClient({ caCerts: [folder.tls.ca] }), (client) => client.close());
  const accounts = natsUsers(users.map(({ entry }) => entry));
  const { url, start, first } = await withPorts(2, async (ports) => {
    const config = `${folder.path}/nats.conf`;
    await Deno.writeTextFile(config, configuration(folder, { ports, accounts }));
    const address = `127.0.0.1:${ports[1]}`;
    const isReady = async () => {
      const response = await fetch(`https://${address}`, { client });
      await response.body?.cancel();
      return true;
    };
    const start = () => startServer(path, { args: ["--config", config], isReady });
    return { url: `wss://${address}`, start, first: await start() };
  });
  let process = first;
  stack.defer(() => process[Symbol.asyncDispose]());
  const all = stack.move();
  const victim: Victim = {
    kill: async () => await process[Symbol.asyncDispose](), // by SIGKILL
    async start() {
      process = await start();
    },
  };
  return { ...victim, url, ca: folder.tls.ca, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

function configuration(
  { path, tls: { certPath, keyPath } }: ServerFolder,
  { ports, accounts }: { readonly ports: readonly number[]; readonly accounts: string },
): string {
  const certificate = `tls { cert_file: "${certPath}", key_file: "${keyPath}" }`;
  return `
    host: 127.0.0.1
    port: ${ports[0]}
    ${certificate}
    websocket { host: 127.0.0.1, port: ${ports[1]}, ${certificate} }
    jetstream { store_dir: "${path}/store" }
    accounts { events { jetstream: enabled, users: ${accounts} } }
  `;
}

/** A server, consumers and publishers, in processes of their own but for the last. */
async function scene(count: Tally) {
  await using stack = new AsyncDisposableStack();
  const { shop, packing } = await members();
  const shopUser = user(rights(SHOP), natsInboxPrefix(SHOP));
  const packingUser = user(rights(PACKING), natsInboxPrefix(PACKING));
  const admin = user(ADMIN, "_INBOX_admin");
  const server = stack.use(await launch([shopUser, packingUser, admin]));
  const reachOf = ({ seed, inboxPrefix }: ReturnType<typeof user>): NatsReach => {
    return { url: server.url, ca: server.ca, seed, inboxPrefix };
  };
  {
    await using maker = await connectNats(reachOf(admin));
    const { streams } = await jetstreamManager(maker.connection, { checkAPI: false });
    await streams.add({ name: STREAM, subjects: [`${PREFIX}.>`], storage: "file", discard: "new" });
  }
  const consumer = () => {
    const setup: NatsConsumerSetup = { member: packing, reach: reachOf(packingUser) };
    return killable("kill_nats_consumer.ts", setup, (line) => count.deliver(Number(line)));
  };
  const consumers = (await Promise.all([consumer(), consumer()])).map((each) => stack.use(each));
  const { identity, trust } = await memberOf(shop);
  const publisher = async () => {
    const { broker } = stack.use(await reachNats(reachOf(shopUser)));
    return stack.use(createPubSub(broker, { identity, trust, policy: TOPICS }));
  };
  const publishers = [await publisher(), await publisher()];
  const all = stack.move();
  return { server, consumers, publishers, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

test("what JetStream acknowledged is delivered, whoever is killed", { skip }, async () => {
  const count = tally(LOAD.messages);
  await using at = await scene(count);
  await storm({ count, stops: repeated(LOAD.kills, () => at.server.kill), ...at });
  await Promise.all(at.publishers.map((bus) => bus[Symbol.asyncDispose]()));
  await Promise.all(at.consumers.map((each) => each.end()));
});
