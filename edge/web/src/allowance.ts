// How many tracks may still be mastered now, and when others may: what the service counts, asked before it has to say no.

import { type Problem, ask } from "./api";
import { moment } from "./sentence";
import { count } from "./text";

interface Quota {
  limit: number;
  used: number;
}

export interface Room {
  /** Tracks that fit now. */
  left: number;
  /** Tracks in a day. */
  limit: number;
  /** The allowance refills evenly: one more track each so many ms. */
  each: number;
}

/** Asks the service; null where it does not say: then nothing is held back, and it judges itself. */
export async function roomHere(): Promise<Room | null> {
  try {
    const { quotas } = await ask<{ quotas?: { tracks_a_day?: Quota; waiting?: Quota } }>("/me");
    const day = quotas?.tracks_a_day;
    if (!day) return null;
    const queue = quotas?.waiting;
    const left = Math.min(day.limit - day.used, queue ? queue.limit - queue.used : Infinity);
    return { left: Math.max(0, left), limit: day.limit, each: 86_400_000 / Math.max(1, day.limit) };
  } catch {
    return null;
  }
}

/** Whether the service said that there is no room for more tracks, which waiting a moment does not change. */
export const full = (problem: Problem): boolean => problem.code === "quota.waiting" || (problem.code === "rate.exceeded" && problem.body.rule === "tracks");

/** What is said at the queue: `all` tracks stand there, `later` of them have to wait, the last one until `last` (ms). */
export function noRoom(all: number, later: number, room: Room, last: number, album: boolean, guest: boolean): string {
  const free = guest ? `${count(room.limit, "free track")} a day` : `${count(room.limit, "track")} a day`;
  if (album && all > room.limit) return `This album has ${all} tracks, and there are ${free}.`;
  if (album) return `An album is mastered in one go. This one starts by itself at about ${moment(last)}.`;
  const now = all - later;
  const rest = later === 1 ? `The ${now > 0 ? "other" : "track"} starts by itself at about ${moment(last)}.` : `The ${now > 0 ? `other ${later}` : `${later} tracks`} start by themselves, the last at about ${moment(last)}.`;
  return `There are ${free}. ${now > 0 ? `${now} of these ${all} fit now. ` : ""}${rest}`;
}
