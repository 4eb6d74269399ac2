import type { Workload } from "../auth/mod.ts";

/** An event whose signature, publisher and topic were verified; its data is not read yet. */
export interface VerifiedEvent {
  /** The topic's name. */
  readonly topic: string;
  /** The event's id. */
  readonly id: string;
  /** Who published it. */
  readonly publisher: Workload;
  /** Which run of the publisher numbered it: 128 random bits in base64url. */
  readonly producer: string;
  /** Its number in that run and topic, from 1. */
  readonly sequence: number;
  /** When it was published, in milliseconds since 1970, as the publisher says. */
  readonly timeMs: number;
  /** The key that it keeps its order with. */
  readonly orderingKey: string | undefined;
  /** What the data is: `application/json`, or `application/jose` where it is encrypted. */
  readonly contentType: string;
  /** The data. */
  readonly data: string;
}
