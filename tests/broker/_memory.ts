// A broker in memory whose clock the tests move.
import { type Broker, memoryBroker, type MemoryBrokerOptions } from "../../src/broker/mod.ts";
import { type ManualClock, manualClock } from "./_clock.ts";

/** Makes a broker. */
export function make(
  options: Omit<MemoryBrokerOptions, "store"> = {},
): { readonly broker: Broker; readonly clock: ManualClock } {
  const clock = manualClock();
  return { broker: memoryBroker({ ...options, now: clock.now, clock }), clock };
}
