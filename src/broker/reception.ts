import { decidesFor } from "../auth/mod.ts";
import { type Codec, CodecError, json } from "../codec/mod.ts";
import { coversTopic } from "../internal/topic_name.ts";
import { checkMessage } from "../rpc/mod.ts";
import type { Delivery } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { JOSE_TYPE, JSON_TYPE } from "./event.ts";
import { assertAdmitted, type Gate, verified } from "./gate.ts";
import type { TopicPattern } from "./topic.ts";
import { isKeyTopic } from "./topic_rules.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What reads the messages of one contract. */
export interface Reception {
  readonly gate: Gate;
  readonly contract: TopicPattern;
  readonly maxAgeMs: number;
  /** Decrypts the data of an event; there for an encrypted topic. */
  readonly decrypt: ((event: VerifiedEvent) => Promise<string>) | undefined;
  readonly codec: Codec;
}

/** What came, as far as it could be read. */
export interface Received {
  readonly delivery: Delivery;
  /** What was verified; undefined where nothing could be. */
  readonly event: VerifiedEvent | undefined;
  /** The message; only to be used where there is no error. */
  readonly data: unknown;
  /** Why it is refused. */
  readonly error: unknown;
}

/** Reads the data of a contract's messages: as small, and as strict, as it says. */
export const codecOf = ({ maxBytes }: TopicPattern): Codec => json({ maxBytes });

/**
 * Reads what was delivered, in this order: what can be verified without looking at the data, the data's cipher, its codec, its
 * schema, and the rules that ask for the message.
 *
 * @returns What it is, or why it is refused; it never rejects.
 */
export async function receive(reception: Reception, delivery: Delivery): Promise<Received> {
  let event: VerifiedEvent | undefined;
  const { topic } = delivery;
  try {
    if (!coversTopic(reception.contract.pattern, topic)) {
      throw new BrokerError("wrong_topic", "Cannot take the event: it is of a topic that was not asked for");
    }
    // A wildcard covers what carries keys too, which is nobody's message.
    if (isKeyTopic(topic)) return { delivery, event, data: undefined, error: undefined };
    event = await verified(reception.gate, delivery);
    assertAdmitted(reception.gate, event, { delivery, maxAgeMs: reception.maxAgeMs });
    const data = await messageIn(reception, event);
    assertRules(reception.gate, event, data);
    return { delivery, event, data, error: undefined };
  } catch (error) {
    return { delivery, event, data: undefined, error };
  }
}

async function messageIn({ contract, decrypt, codec }: Reception, event: VerifiedEvent): Promise<unknown> {
  if (event.contentType !== (contract.encrypted ? JOSE_TYPE : JSON_TYPE)) {
    throw contract.encrypted
      ? new BrokerError("not_encrypted", "Cannot take the message: it is not encrypted, as its topic is")
      : new BrokerError("malformed_message", "Cannot read the message: it is encrypted, as its topic is not");
  }
  const text = decrypt ? await decrypt(event) : event.data;
  const checked = checkMessage(contract.validate, decoded(codec, text));
  const { value, problem } = checked instanceof Promise ? await checked : checked;
  if (problem !== undefined) throw new BrokerError("malformed_message", problem);
  return value;
}

function decoded(codec: Codec, text: string): unknown {
  try {
    return codec.decode(new TextEncoder().encode(text));
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new BrokerError("malformed_message", cause.message, { cause });
  }
}

function assertRules({ policy, now }: Gate, { publisher, topic }: VerifiedEvent, message: unknown): void {
  const rules = policy.matching({ caller: publisher, publish: topic });
  if (decidesFor(rules, { caller: publisher, message, now: new Date(now()) })) return;
  throw new BrokerError("not_allowed", "Cannot take the message: no rule lets its publisher say this");
}
