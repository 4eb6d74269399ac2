// Publishes to a broker in a file until it is killed, and says of each message when it is kept: for the tests of the store.
import { memoryBroker } from "../../src/broker/mod.ts";
import { brokerStore } from "../../src/runtime/deno.ts";

const broker = memoryBroker({ store: await brokerStore(Deno.args[0]!) });
await using _place = await broker.subscribe("a.b", { group: "g" });

async function publishOn(from: string): Promise<never> {
  for (let index = 0;; index++) {
    const id = `${from}-${index}`;
    await broker.publish({ topic: "a.b", id, event: id });
    console.log(id);
  }
}

await Promise.all(["one", "two", "three"].map(publishOn));
