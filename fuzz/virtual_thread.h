// A real thread that runs only while its caller waits: so several of them are one deterministic program, and still each
// has its own thread-local state, its own cache in the allocator and its own end.
#ifndef HZ4_FUZZ_VIRTUAL_THREAD_H_
#define HZ4_FUZZ_VIRTUAL_THREAD_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace hz4_fuzz {

class VirtualThread {
 public:
  ~VirtualThread() { Exit(); }

  bool running() const { return thread_.joinable(); }

  // Runs `job` on the thread, which begins if need be, and returns when it is done.
  void Run(const std::function<void()> &job) {
    if (!running()) thread_ = std::thread([this] { Loop(); });
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = &job;
    changed_.notify_all();
    changed_.wait(lock, [this] { return job_ == nullptr; });
  }

  // Ends the thread, its destructors included. The next Run begins a new one.
  void Exit() {
    if (!running()) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
    ending_ = false;
  }

 private:
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return job_ != nullptr || ending_; });
      if (job_ == nullptr) return;
      (*job_)();
      job_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()> *job_ = nullptr;  // under mutex_
  bool ending_ = false;                         // under mutex_
  std::thread thread_;
};

}  // namespace hz4_fuzz

#endif  // HZ4_FUZZ_VIRTUAL_THREAD_H_
