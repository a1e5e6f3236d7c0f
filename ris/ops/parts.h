// Work in parts on several threads, and what becomes of a part that runs out of memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace ris {

// Calls work(begin, end, part) on parts of [0, count), each on a thread of its own as far as the
// system gives any, else one after the other. An exception in one is thrown again here, once all
// have ended: one that left a thread would end the process.
template <class Count, class Work>
void divide_numbered(Count count, int parts, const Work& work) {
    std::atomic<bool> exhausted{false};
    const auto run = [&](int part) {
        try {
            work(count * part / parts, count * (part + 1) / parts, part);
        } catch (const std::bad_alloc&) {
            exhausted = true;
        }
    };
    std::vector<std::thread> others;
    others.reserve(static_cast<size_t>(std::max(parts - 1, 0)));
    int started = 0;
    try {
        for (; started + 1 < parts; started++) others.emplace_back(run, started);
    } catch (const std::system_error&) {  // no more threads: the rest runs on this one
    }
    for (int part = started; part < parts; part++) run(part);
    for (auto& other : others) other.join();
    if (exhausted) throw std::bad_alloc();
}

// Calls work(begin, end) on parts of 0..count.
template <class Work>
void divide(long count, long threads, const Work& work) {
    divide_numbered(count, static_cast<int>(std::max(1L, std::min(threads, count))),
                    [&](long begin, long end, int) { work(begin, end); });
}

// What a kernel returns: 0, 1 where memory ran out, 2 where `work` says false.
template <class Work>
int guarded(const Work& work) {
    try {
        return work() ? 0 : 2;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace ris
