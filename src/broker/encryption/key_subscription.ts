import type { StartPosition, Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import type { SignedEvents } from "../signed_events.ts";
import type { VerifiedEvent } from "../verified_event.ts";

/**
 * Subscribes to what a broker has kept, and to what follows; where it keeps nothing, to what follows.
 *
 * @param signed What subscribes.
 * @param pattern Names of topics.
 * @param start Where to begin.
 */
export async function subscribeFrom(
  signed: SignedEvents,
  pattern: string,
  start: StartPosition,
): Promise<Subscription<VerifiedEvent>> {
  try {
    return await signed.subscribe(pattern, { start });
  } catch (error) {
    if (!(error instanceof BrokerError && error.reason === "unsupported")) throw error;
    return await signed.subscribe(pattern);
  }
}
