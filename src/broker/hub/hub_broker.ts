import { pause } from "../../internal/pause.ts";
import { type Random, secureRandom } from "../../internal/random.ts";
import { type Client, createClient, RpcError, type Transport } from "../../rpc/mod.ts";
import type { Broker, BrokerProperties } from "../broker.ts";
import { type BrokerMethods, BrokerService } from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";
import { checkOutgoing, checkSubscribe } from "../broker_input.ts";
import { hubError } from "./hub_error.ts";
import { hubPublishing } from "./hub_publishing.ts";
import { type HubSubscription, hubSubscription } from "./hub_subscription.ts";

/** How a hub is used. */
export interface HubBrokerOptions {
  /**
   * How long an event is tried, in milliseconds, 1 to 120,000: so long a hub knows what it has.
   *
   * @default {30_000}
   */
  readonly publishTimeoutMs?: number;
  /**
   * How long the hub may be away when it is asked first, and when a subscription begins; and how long it may take to end one
   * that was drained, in milliseconds, 1 to 120,000.
   *
   * @default {30_000}
   */
  readonly openTimeoutMs?: number;
  /** Spreads the attempts of many clients to come back. @default {the runtime's cryptographic source} */
  readonly random?: Random;
}

/**
 * Uses a broker that is served elsewhere by `brokerService`.
 *
 * What is published is tried again until the hub has it, also while the hub is away, and never after it was refused; it
 * stays in its order. A subscription comes back by itself, for ever: in a group it goes on where the group is, and if the hub
 * does not know that any more, where this member began; without one, behind the last message that was acknowledged with all
 * before it. Where the hub keeps no messages, what was published meanwhile is missed. What was out when the connection went
 * comes again, and acknowledging it afterwards does nothing.
 *
 * A reader that is fast has up to `maxInFlight` messages fetched ahead; a slow one has fewer, so that they go to others.
 * Messages that somebody fetched and did not see count as an attempt. All is bounded: what a hub sends beyond what it was
 * asked for ends its connection, as does what is not of the subscription.
 *
 * Of the properties, `encrypted` and `accessControlled` are this connection's, and the others are the hub's, which is asked
 * once.
 *
 * @example A broker over the network
 * ```ts ignore
 * const transport = webSocketTransport("wss://hub.example.org", { prover: prove({ identity, trust, peer: HUB }) });
 * const broker = await hubBroker(transport);
 * ```
 *
 * @param transport How the hub is reached; a WebSocket, or whatever else carries streams both ways. Disposing the broker
 * does not dispose it.
 * @param options Times.
 * @returns The broker. Its events are texts that the hub takes only as their publisher signed them.
 * @throws {BrokerError} `unreachable`, `refused`.
 * @throws {RangeError} A time is out of its range.
 */
export async function hubBroker(transport: Transport, options: HubBrokerOptions = {}): Promise<Broker> {
  const { publishTimeoutMs = 30_000, openTimeoutMs = 30_000, random = secureRandom() } = options;
  assertTime("publishTimeoutMs", publishTimeoutMs);
  assertTime("openTimeoutMs", openTimeoutMs);
  const client = createClient(BrokerService, transport);
  const closing = new AbortController();
  const subscriptions = new Set<HubSubscription>();
  const backoffMs = (failures: number) => {
    const longestMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(failures, 16));
    return longestMs / 2 + random.below(longestMs / 2);
  };
  const publishing = hubPublishing({ client, timeoutMs: publishTimeoutMs, backoffMs, closing: closing.signal });
  const properties = await askForProperties(client, { timeoutMs: openTimeoutMs, backoffMs });
  return {
    properties,
    async publish(event, options = {}) {
      checkOutgoing(event);
      if (event.orderingKey !== undefined && !properties.ordering) {
        throw new BrokerError("unsupported", "Cannot publish with an ordering key: the hub keeps no order");
      }
      await publishing(event, options);
    },
    async subscribe(pattern, options = {}) {
      const terms = checkSubscribe(pattern, options);
      if (closing.signal.aborted) throw closed();
      const subscription: HubSubscription = hubSubscription({
        client,
        pattern,
        options,
        terms,
        resumes: properties.positions,
        timeoutMs: openTimeoutMs,
        backoffMs,
        over: () => void subscriptions.delete(subscription),
      });
      subscriptions.add(subscription);
      await subscription.opened;
      return subscription;
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await Promise.all([...subscriptions].map((each) => each.fail(closed())));
    },
  };
}

interface Asking {
  readonly timeoutMs: number;
  readonly backoffMs: (failures: number) => number;
}

/** Asks the hub what it promises; one that is just starting is waited for. */
async function askForProperties(
  client: Client<BrokerMethods>,
  { timeoutMs, backoffMs }: Asking,
): Promise<BrokerProperties> {
  const deadlineAt = performance.now() + timeoutMs;
  for (let failures = 0;; failures++) {
    try {
      const leftMs = Math.max(1, Math.ceil(deadlineAt - performance.now()));
      const own = await client.properties({}, { timeoutMs: leftMs });
      return Object.freeze({ encrypted: true, accessControlled: true, ...own });
    } catch (error) {
      const waitMs = backoffMs(failures);
      const isAway = error instanceof RpcError && error.code === "unavailable";
      if (!isAway || performance.now() + waitMs >= deadlineAt) throw hubError(error);
      await pause(waitMs);
    }
  }
}

const closed = () => new BrokerError("closed", "The broker was closed");

function assertTime(name: string, ms: number): void {
  if (Number.isSafeInteger(ms) && ms >= 1 && ms <= MAX_TIME_MS) return;
  throw new RangeError(`Cannot use the hub: "${name}" is a whole number from 1 to ${MAX_TIME_MS}`);
}

/** For how long a broker knows the ids of what it took, in milliseconds. */
const MAX_TIME_MS = 120_000;
/** How long the first pause is at most, in milliseconds. */
const MIN_BACKOFF_MS = 100;
/** How long each is at most, after many attempts that failed. */
const MAX_BACKOFF_MS = 10_000;
