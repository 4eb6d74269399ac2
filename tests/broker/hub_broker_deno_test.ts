import { allow } from "../../src/auth/mod.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { brokerConformance } from "./_conformance.ts";
import { hub, id, signing } from "./_hub.ts";

brokerConformance("hubBroker()", async () => {
  const now = Object.assign(() => Date.now(), { pass() {} });
  const inside = await world(DOMAIN, now);
  const admin = await inside.join(id("admin"));
  const served = await hub(inside, {
    broker: memoryBroker(),
    topics: [allow({ caller: id("admin"), publish: ">", subscribe: ">" })],
  });
  const connect = async () => signing(await served.as(admin), admin, now);
  return { broker: await connect(), another: connect, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
});
