// What every broker must do, whatever moves its events: the contract in the comments of src/broker/broker.ts.
import { test } from "node:test";
import { testGroups } from "./_conformance_groups.ts";
import { testOrdering, testPositions } from "./_conformance_places.ts";
import { testPublishing } from "./_conformance_publish.ts";
import type { Conforms, OpenBroker, Rig } from "./_conformance_rig.ts";
import { testRefusals } from "./_conformance_refuse.ts";
import { testSettling } from "./_conformance_settle.ts";

export type { BrokerUnderTest, MovedClock, OpenBroker } from "./_conformance_rig.ts";

/**
 * Tests a broker: what its properties claim, and that it refuses what they do not.
 *
 * @param name What it is called in the titles.
 * @param open Makes one for each test, with nothing in it.
 * @param options A reason to skip its tests.
 */
export function brokerConformance(
  name: string,
  open: OpenBroker,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  const conforms: Conforms = (title, run) =>
    test(`${name} ${title}`, { skip }, async () => {
      await using under = await open();
      const { broker } = under;
      const rig: Rig = {
        broker,
        can: broker.properties,
        another: () => under.another(),
        ...under.clock && { clock: under.clock },
      };
      await run(rig);
    });
  testPublishing(conforms);
  testRefusals(conforms);
  testSettling(conforms);
  testGroups(conforms);
  testPositions(conforms);
  testOrdering(conforms);
}
