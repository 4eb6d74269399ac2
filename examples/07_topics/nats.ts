// `deno task topics:nats`: the same story over NATS JetStream. It starts a nats-server of its own, as your operators would: with
// TLS, a stream, and a user for each identity, who may do what the rules of the story say and no more.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { natsBroker, natsPermissions } from "@postern/rpc/broker";
import { findNats, launchNats } from "../../tests/servers/nats.ts";
import { FRAUD, OrderPlaced, PACKING, rules, SHOP } from "./contracts.ts";
import { tellStory } from "./story.ts";

const program = await findNats();
if (program.path === undefined) {
  console.error("There is no nats-server on this machine: apt-get install nats-server");
  Deno.exit(1);
}
const [subjectPrefix, stream] = ["events", "EVENTS"];
const permissions = (id: string, groups: { group: string; pattern: string }[] = []) =>
  natsPermissions(rules, { id, roles: [], attributes: {} }, {
    subjectPrefix,
    jetstream: { stream, groups, alone: true },
  });
await using nats = await launchNats(program.path, {
  events: {
    [SHOP]: permissions(SHOP),
    [PACKING]: permissions(PACKING, [{ group: "packers", pattern: OrderPlaced.name }]),
    [FRAUD]: permissions(FRAUD),
  },
});
const { streams } = await jetstreamManager(await nats.connectEvents("admin"));
await streams.add({
  name: stream,
  subjects: [`${subjectPrefix}.>`],
  storage: "file",
  max_age: 7 * 86_400 * 1e9,
  discard: "new",
});

await tellStory({
  async reach({ id }) {
    const connection = await nats.connectEvents(id);
    const manager = await jetstreamManager(connection, { checkAPI: false });
    return await natsBroker(connection, {
      subjectPrefix,
      jetstream: { client: jetstream(connection), manager, stream },
    });
  },
  show: console.log,
});
